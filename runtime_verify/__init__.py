"""runtime_verify: runs flagged code on a CUDA device, as written and with the fix, and judges what really happens.

It may import torchmemlint, of which only `torchmemlint.faces.verifying` imports it, when verifying is asked for.
Nothing here imports torch in the process that the user started: code that is run is run in a process of its own.
"""
