"""Started as a program by `connection`, in the interpreter that has torch: becomes a fork server.

That interpreter need not have us installed, so our package is put in place by hand, and nothing of the folder
that we were started in may stand in for a module of the library. The argument is the socket's descriptor.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def boot() -> None:
    """Never returns."""
    home = Path(__file__).parent
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file
    spec = importlib.util.spec_from_file_location(
        "runtime_verify", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["runtime_verify"] = package
    spec.loader.exec_module(package)

    from runtime_verify.server import main

    main(int(sys.argv[1]))


if __name__ == "__main__":
    boot()
