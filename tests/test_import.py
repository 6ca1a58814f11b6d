"""What ``import deberta_ref`` gives, and what it does not drag in."""

import subprocess
import sys
from pathlib import Path

import deberta_ref

ROOT = Path(__file__).parents[1]


def test_the_public_names_are_the_documented_ones():
    assert set(deberta_ref.__all__) >= {
        "Config",
        "Params",
        "Preset",
        "forward",
        "from_preset",
        "init",
        "presets",
        "trace",
    }
    assert all(hasattr(deberta_ref, name) for name in deberta_ref.__all__)


def test_importing_brings_in_numpy_and_the_standard_library_only():
    script = "import sys, numpy; before = set(sys.modules); import deberta_ref; print(*set(sys.modules) - before)"
    names = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    foreign = {name.partition(".")[0] for name in names} - {"deberta_ref", "numpy", *sys.stdlib_module_names}
    assert not foreign


def test_the_model_is_read_in_one_sitting():
    assert len((ROOT / "deberta_ref" / "model.py").read_text("utf-8").splitlines()) < 150
