"""Judge the ports of ports/adapters, and write the table of the README.

    python ports/tools/matrix.py [--only ID …] [--check]

Run it by an interpreter with ports/requirements.txt, the authors' package and deberta-ref installed. Every port, or
those of --only, is judged, and its line of the table written; with --check nothing is written, and it is an error if a
line would change in more than the score.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADAPTERS = Path(__file__).parents[1] / "adapters"
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- matrix: written by ports/tools/matrix.py -->\n", "<!-- end of the matrix -->\n"
COLUMNS = ("implementation", "version", "verdict", "worst score", "what it gets wrong", "first failing case")
SCORE = 4  # the cell that noise moves; the one before the first | is empty


@dataclass(frozen=True)
class Port:
    """An implementation that others wrote, and how the kit is pointed at it."""

    id: str
    name: str  # in the table
    packages: tuple[str, ...]  # on PyPI, whose versions are shown
    adapter: str = ""  # the file in ports/adapters
    arguments: tuple[str, ...] = ()  # for check, where it is no Python
    environment: tuple[tuple[str, str], ...] = ()
    found: str = ""  # what its failing cases come from, reproduced by hand: printed only where it does not conform


def keras_hub(backend: str, package: str) -> Port:
    """KerasHub on one of its backends."""
    return Port(
        f"keras-hub-{backend}",
        f"KerasHub on {package}",
        ("keras-hub", backend if backend != "torch" else "torch"),
        "kerashub",
        environment=(("KERAS_BACKEND", backend),),
        found="bucket 64, not 63, at distance 511: in float32 it multiplies a logarithm before it divides (REL-BUCKET)",
    )


PORTS = (
    Port("transformers", "transformers, eager", ("transformers",), "huggingface"),
    Port("transformers-compiled", "transformers, torch.compile", ("transformers", "torch"), "huggingface_compiled"),
    Port("authors", "the authors' package", ("deberta",), "authors"),
    keras_hub("jax", "JAX"),
    keras_hub("tensorflow", "TensorFlow"),
    keras_hub("torch", "PyTorch"),
    Port("onnxruntime", "ONNX Runtime, exported from transformers", ("onnxruntime",), "huggingface_onnx"),
    Port("openvino", "OpenVINO, converted from transformers", ("openvino",), "huggingface_openvino"),
    Port(
        "transformers.js",
        "transformers.js on ONNX Runtime",
        (),
        arguments=("--exec", f"node {ADAPTERS}/transformersjs/run.mjs {{checkpoint}} {{inputs}} {{outputs}}"),
        environment=(("EXPORTER", "legacy"), ("PYTHON", sys.executable)),
    ),
    Port("disentangled-flash", "disentangled-flash, on the CPU", ("disentangled-flash",), "disentangledflash"),
    Port(
        "flashdeberta",
        "FlashDeBERTa, its Triton kernels interpreted",
        ("flashdeberta",),
        "flashdeberta_interpreted",
        found="it takes the number of valid tokens for a length, as if all padding were at the end: with holes, tokens "
        "attend to the wrong ones; and it refuses head sizes that are no power of two",
    ),
)


def judged(port: Port) -> dict[str, Any]:
    """The report of ``deberta-ref check`` on a port, as its JSON has it."""
    arguments = port.arguments or (f"{ADAPTERS / port.adapter}.py:load",)
    with tempfile.TemporaryDirectory() as scratch:
        report, said = Path(scratch) / "report.json", Path(scratch) / "stderr"
        command = [sys.executable, "-m", "deberta_ref", "check", *arguments, "--json", str(report)]
        with said.open("w") as stderr:
            code = subprocess.run(
                command,
                env={**os.environ, **dict(port.environment)},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                check=False,
            ).returncode
        if code not in {0, 1}:
            raise RuntimeError(f"{port.id}: deberta-ref check ended with {code}: {said.read_text('utf-8')[-500:]}")
        return dict(json.loads(report.read_text("utf-8")))


def row(port: Port, report: dict[str, Any]) -> str:
    """The line of the table."""
    failing = [case for case in report["cases"] if case["status"] in {"fail", "error"}]
    scores = [case["score"] for case in report["cases"] if case["score"] is not None and case["status"] == "pass"]
    scores += [case["score"] for case in failing if case["score"] is not None]
    judged = sum(case["status"] != "skip" for case in report["cases"])
    verdict = "conforms" if report["conforms"] else f"{len(failing)} of {judged} fail"
    best = report["diagnosis"][0] if report["diagnosis"] else None
    named = f"`{best['mutant']}`: " if best and best["score"] is not None and best["score"] <= report["limit"] else ""
    wrong = named + (port.found or "?") if failing else "nothing"
    versions = ", ".join(importlib.metadata.version(package) for package in port.packages) or node_version()
    first = f"`{failing[0]['id']}`" if failing else "–"
    return f"| {port.name} | {versions} | {verdict} | {max(scores):.2g} | {wrong} | {first} |\n"


def node_version() -> str:
    """The version of transformers.js that is installed beside its adapter."""
    package = ADAPTERS / "transformersjs" / "node_modules" / "@huggingface" / "transformers" / "package.json"
    return str(json.loads(package.read_text("utf-8"))["version"])


def settled(line: str) -> list[str]:
    """The cells of a line of the table that no noise moves."""
    return [cell for n, cell in enumerate(line.split("|")) if n != SCORE]


def main() -> int:
    """Judge, and write the table or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[port.id for port in PORTS], help="these ports alone")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the table says otherwise")
    options = parser.parse_args()
    text = README.read_text("utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rows = {line.split("|")[1].strip(): line + "\n" for line in text[start:end].splitlines()[2:]}
    differs = False
    for port in PORTS:
        if options.only and port.id not in options.only:
            continue
        found = row(port, judged(port))
        print(found, end="", flush=True)
        differs |= settled(rows.get(port.name, "")) != settled(found)
        rows[port.name] = found
        if not options.check:
            header = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
            table = header + "".join(rows[port.name] for port in PORTS if port.name in rows)
            README.write_text(text[:start] + table + text[end:], "utf-8")
    if options.check:
        print("the table says otherwise" if differs else "as the table says")
    return int(options.check and differs)


if __name__ == "__main__":
    sys.exit(main())
