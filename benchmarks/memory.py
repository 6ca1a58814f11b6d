"""The time and the peak memory of one forward pass, in a process that does nothing else.

    python benchmarks/memory.py JSON      {"config": {…}, "B": …, "T": …, "dtype": …, "calls": N}

It prints JSON: ``seconds``, the least of N calls, and ``bytes``, the peak of resident memory while they ran, beyond
what was resident once the parameters, made by the recipe, were all in memory, and beyond one output. What NumPy and its
BLAS keep for themselves counts.
"""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def point(**request: Any) -> dict[str, float]:
    """The seconds and bytes of a forward pass, measured in a process of its own."""
    command = [sys.executable, __file__, json.dumps(request)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603
    return dict(json.loads(ran.stdout))


def peak() -> int:
    """The most memory that was ever resident, or since ``forget_peak``."""
    if REFERENCES.exists():
        return _status("VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> int:
    """What is resident; from now on the peak counts from there. Where no system call does so, the peak so far."""
    if not REFERENCES.exists():
        return peak()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # or what is freed already would hide a part of what comes
    REFERENCES.write_text("5", "ascii")
    return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text("utf-8").splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Measure one point."""
    import numpy as np  # noqa: PLC0415 - here only, that whoever imports ``point`` stays small

    import deberta_ref  # noqa: PLC0415
    from deberta_ref.recipe import from_recipe, recipe_ids  # noqa: PLC0415

    request = json.loads(sys.argv[1])
    config, shape = deberta_ref.Config(**request["config"]), (request["B"], request["T"])
    params = from_recipe(config)
    inputs = {"token_ids": recipe_ids(config, *shape), "padding_mask": np.ones(shape, int)}
    before, taken = forget_peak(), []
    for _ in range(request["calls"]):
        start = time.perf_counter()
        output = deberta_ref.forward(params, inputs, dtype=request["dtype"], allow_long=True)
        taken.append(time.perf_counter() - start)
        size = output.nbytes
        del output  # or two would be there at once
    print(json.dumps({"seconds": min(taken), "bytes": peak() - before - size}))


if __name__ == "__main__":
    main()
