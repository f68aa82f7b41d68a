"""torchmemlint: finds PyTorch memory anti-patterns and proves them on a CUDA device."""

__version__ = "0.1.0"
