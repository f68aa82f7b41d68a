"""Ground truth for the verifier, made by mutation: good code of real repositories and edits whose effect is known."""
