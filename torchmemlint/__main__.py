"""`python -m torchmemlint` is the command `torchmemlint`. May not do anything else."""

import sys

from torchmemlint.faces.cli import main

if __name__ == "__main__":
    sys.exit(main())
