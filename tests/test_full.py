"""``check --full``: the five published sizes, one after another, with what they take given back in between."""

import json
import os
import subprocess
import sys

import pytest
from kit import CASES, write

from deberta_ref import presets
from deberta_ref.params import num_params

pytestmark = pytest.mark.large

PRESETS = [case for case in CASES.values() if case.suite == "presets"]
FLOAT32 = 4
"""Bytes."""


def check(place, *arguments):
    """The report, and the most memory in bytes that the command has had."""
    program = (
        "import resource, sys; from deberta_ref.cli import main; code = main(); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "check", *arguments, "--full", "--json", str(place / "report.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kilobytes = int(done.stderr.split()[-1])
    return json.loads((place / "report.json").read_text("utf-8")), kilobytes * (1 if sys.platform == "darwin" else 1024)


def test_there_is_a_case_of_every_published_size():
    assert {num_params(case.config) for case in PRESETS} == {preset.num_params for preset in presets.values()}


@pytest.mark.parametrize("as_file", [False, True], ids=["the reference", "a port in a file"])
def test_all_published_sizes_conform_and_only_one_of_them_is_in_memory(tmp_path, as_file):
    write(
        tmp_path / "port.py",
        """
        import deberta_ref

        def load(checkpoint_dir):
            params = deberta_ref.from_preset(checkpoint_dir)
            return lambda inputs: deberta_ref.forward(params, inputs, allow_long=True)
        """,
    )
    report, memory = check(tmp_path, *(["port.py:load"] if as_file else []))
    assert report["conforms"] is True
    judged = {case["id"]: case for case in report["cases"] if case["suite"] == "presets"}
    assert set(judged) == {case.id for case in PRESETS}
    assert {case["status"] for case in judged.values()} == {"pass"}
    assert max(case["score"] for case in judged.values()) < 2
    sizes = [num_params(case.config) * FLOAT32 for case in PRESETS]
    for name, case in judged.items():
        print(f"{name}: {case['seconds']:.1f} s, score {case['score']:.2f}")
    print(f"{report['seconds']:.0f} s, {memory / 1e9:.1f} GB at most; all parameters are {sum(sizes) / 1e9:.1f} GB")
    # The largest, which a port in this process has mapped from its file besides, and 0.6 GB for everything else.
    assert memory < max(sizes) * (2 if as_file else 1) + 0.6e9 < sum(sizes)
