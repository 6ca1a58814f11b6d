"""A port written by hand from spec/ conforms, and sixty mistakes in it, each made by hand as well, are rejected.

Run with ``pytest -m ports`` and DEBERTA_REF_PORTS_PYTHON naming an interpreter that has ports/requirements.txt.
``tests/handwritten/name_them.py`` says what the diagnosis calls the mistakes.
"""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from deberta_ref.conformance.verdict import LIMIT

pytestmark = pytest.mark.ports

ROOT = Path(__file__).parents[1]
HANDWRITTEN = ROOT / "tests" / "handwritten"


def output(*arguments):
    """What the interpreter of the ports prints."""
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_right_port_conforms():
    assert " conforms: " in output("-m", "deberta_ref", "check", HANDWRITTEN / "port.py:load")


def test_every_mistake_computes_a_hidden_state_and_is_rejected():
    found = json.loads(output(HANDWRITTEN / "mistakes.py"))
    assert len(found) == 60
    assert [name for name, scores in found.items() if not math.isfinite(max(scores.values()))] == []
    assert [name for name, scores in found.items() if max(scores.values()) <= LIMIT] == []
