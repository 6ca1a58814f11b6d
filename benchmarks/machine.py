"""The machine and the versions that a time belongs to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> str:
    """The library that NumPy multiplies matrices with, and its version."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{found['name']} {found['version']}"


def described(threads: int, versions: dict[str, str]) -> dict[str, str]:
    """All of it, by what it is."""
    return {
        "processor": processor(),
        "threads": f"{threads} of {cores()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {blas()}",
        **versions,
    }
