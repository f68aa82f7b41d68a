"""Folders of runs: removed whole, whatever a run has made of them.

May import nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, also what was made unreadable."""
    places = [folder]
    while places:
        place = places.pop()
        with contextlib.suppress(OSError):
            os.chmod(place, stat.S_IRWXU)
            with os.scandir(place) as entries:
                places += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder, ignore_errors=True)
