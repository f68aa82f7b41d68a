"""What there is to run on: torch, CUDA, the devices. Asked in a child, because asking may start the driver."""

from __future__ import annotations

import platform
import re
import sys
from typing import Any


def probe() -> dict[str, Any]:
    """Versions, and name and bytes of each visible device; `problem` says why CUDA cannot be used."""
    found = {"torch": "", "python": platform.python_version(), "cuda": "", "driver": driver(), "devices": []}
    torch = sys.modules.get("torch")
    if torch is None:
        return {**found, "problem": "the fork server has no torch"}
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda or ""}
    if torch.version.cuda is None:
        return {**found, "problem": f"torch {torch.__version__} is built without CUDA"}
    try:
        devices = []
        for index in range(max(1, torch.cuda.device_count())):  # the first raises, and says why, where there is none
            properties = torch.cuda.get_device_properties(index)
            torch.zeros(1, device=f"cuda:{index}").item()  # a context, an allocation and a copy, not the name alone
            devices.append({"name": properties.name, "bytes": properties.total_memory})
    except Exception as error:
        problem = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no device: {error}"
        return {**found, "problem": problem}
    return {**found, "devices": devices, "problem": ""}


def driver() -> str:
    """The version of the NVIDIA driver; "" where there is none."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", file.read())
    except OSError:
        return ""
    return match.group(1) if match else ""
