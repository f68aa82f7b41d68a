"""torchmemlint: finds PyTorch memory anti-patterns and proves them on a CUDA device."""

__version__ = "0.1.0"


def load_ipython_extension(shell: object) -> None:
    """`%load_ext torchmemlint` adds the magics `%torchmemlint` and `%%torchmemlint`."""
    from torchmemlint.faces.session import register

    register(shell)
