"""`python -m torchmemlint` and the script `torchmemlint` are the command. May not do anything else."""

import sys


def main() -> int:
    """Runs the command, which may be stopped while it is still being imported; the exit status is the answer."""
    try:
        from torchmemlint.faces.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
