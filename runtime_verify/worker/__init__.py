"""What runs in the child process: the user's code, made to run and watched.

Needs torch and the standard library only; imports nothing of ours but `runtime_verify.readings`.
"""
