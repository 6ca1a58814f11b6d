"""An implementation in a process of its own: it loads once, then computes when it is asked to.

    python benchmarks/worker.py IMPLEMENTATION THREADS CHECKPOINT

IMPLEMENTATION is an id of implementations.py. Thread pools of two libraries in one process get in each other's way, so
there is one a process. It says a line of JSON when it has loaded, and then one for each line that it is told:

    {"inputs": FILE, "output": FILE}    take these inputs, compute until nothing is compiled any more, write the output
    {"clock": "wall" or "processor"}     compute once: {"seconds": …, "idle": …}

``seconds`` is around the call alone, from NumPy arrays to a NumPy array: what passed, or what all threads used. Threads
that wait for work may spin a while after a call, so it waits before it answers; ``idle`` is the processor time that it
has used since its last answer although nothing was asked of it, while others were computing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPROC")
"""How the number of threads is read before a library is loaded: by the libraries of matrix products, and by XLA."""

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
WARM_UP = 3
SETTLE = 0.05
"""Seconds after a call until nothing spins: OpenBLAS's threads do for 2²⁶ cycles, 26 ms here."""


class Worker:
    """A worker process as its parent holds it; close it when done."""

    def __init__(self, name: str, threads: int, checkpoint_dir: str) -> None:
        """Start it; it loads meanwhile."""
        self.name = name
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, __file__, name, str(threads), checkpoint_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env={**os.environ, **dict.fromkeys(VARIABLES, str(threads))},
            text=True,
        )

    def answer(self) -> Any:
        """The next line that it says; RuntimeError with the end of what it complained of if it has ended."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self.process.wait()
            self.said.seek(0)
            raise RuntimeError(f"{self.name} ended: {self.said.read()[-2000:]}")
        return json.loads(line)

    def ask(self, **request: str) -> Any:
        """Its answer to a request."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, as will be found at once
            self.process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()  # waits, and closes the pipes
        self.said.close()


def main() -> None:
    """Load, then answer line by line."""
    name, threads, checkpoint_dir = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries greet on standard output

    if hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as there are cores that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import numpy as np  # noqa: PLC0415 - after the environment and the cores are settled
    from implementations import IMPLEMENTATIONS  # noqa: PLC0415

    loaded = IMPLEMENTATIONS[name].load(checkpoint_dir, threads)
    answer: dict[str, float] = {}
    while True:
        time.sleep(SETTLE)
        used = time.process_time()
        print(json.dumps(answer), file=lines, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        answer, request = {"idle": time.process_time() - used}, json.loads(line)
        if "inputs" in request:
            inputs = np.load(request["inputs"])
            ids, mask = inputs["token_ids"], inputs["padding_mask"]
            for _ in range(WARM_UP):
                output = loaded(ids, mask)
            np.save(request["output"], output)
        else:
            clock = CLOCKS[request["clock"]]
            start = clock()
            loaded(ids, mask)
            answer["seconds"] = clock() - start


if __name__ == "__main__":
    main()
