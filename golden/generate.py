"""Write the golden cases, each agreed on by witnesses; or, with --check, make them again and compare.

    DEBERTA_REF_PORTS_PYTHON=.venv-ports/bin/python python golden/generate.py [--check] [--only ID]

The interpreter named has ports/requirements.txt installed. A value is written only if two implementations or more that
share no code with the reference agree with it in float64, and KerasHub in float32 within its noise; where one does not,
REASONS says why.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import texts
from plans import IDS, Draft, drafted
from plans_of_operations import operations
from rejections import in_halves, matrix
from safetensors.numpy import load_file, save_file

from deberta_ref import model
from deberta_ref.conformance.cases import noise, precisions
from deberta_ref.conformance.cases.corpus import ROW, SUMMARISED, Case, corpus
from deberta_ref.conformance.mistakes.mistake import Mistake
from deberta_ref.conformance.mistakes.mutants import mutants, variations
from deberta_ref.precision import PRECISIONS
from deberta_ref.taps import tap_axes

HERE = Path(__file__).parent

EXACT = 1e-13
"""Of a value's largest number: what two float64 evaluations may differ by."""

LIMITS = {"ops/layer-norm-large-mean": 1e-11, "model/low-scores": 1e-10}
"""Where it is more: a mean of 4096 costs a row with a spread below 1 four digits, and so do scores of −12800."""

FLOAT32_ROOT = 1e-6
"""The same for transformers where 3d is no perfect square: it takes that root in float32."""

WITNESSES = {"authors": "float64", "huggingface": "float64", "kerashub": "float32"}
"""The ports that are asked for models and layers, and what they compute in."""

OPERATIONS = {**WITNESSES, "mpmath": "float64"}
"""Those that are asked for operations; KerasHub in float32 again, for some of Keras's layers know nothing wider."""

NAMES = {"authors": "deberta", "huggingface": "transformers", "kerashub": "keras-hub", "mpmath": "mpmath"}
"""Their packages on PyPI."""

REJECTED = 10
"""Noise multiples from which on a case catches a mistake. A manifest names those that score twice as much, for the same
mistake scores a little less or more where the sums of another BLAS round otherwise."""

MOST_PAIRS, MOST_ROWS = 40, 256
"""The longest T whose taps of pairs are written, and the most relative rows: more take megabytes and follow from the
others."""

MULTIPLIED_FIRST = "its bucket at distance 511 is 64, not 63: the catalogued float32 order of operations"
CANCELS = "it computes ½ · x · (1 + erf), which cancels in the tail"

REASONS = {
    ("model/bucket-64-of-512", "keras-hub"): MULTIPLIED_FIRST,
    ("ops/rows-64-512", "keras-hub"): MULTIPLIED_FIRST,
    ("ops/gelu-tail", "transformers"): CANCELS,
    ("ops/layer-norm-huge", "keras-hub"): "it squares the values as they come, and float32 overflows",
}
"""Why an implementation does not agree, by case."""


def directory(root: Path, name: str) -> Path:
    """Where a case is staged: ports/tools/run.py wants all cases in one directory."""
    return root / name.replace("/", "-")


def stage(draft: Draft, root: Path) -> Case:
    """The case as far as it can be made without witnesses, below ``root``: what is asked, and the truth."""
    place = directory(root, draft.id)
    place.mkdir(parents=True)
    manifest = {
        "id": draft.id,
        "format": 1,
        "exercises": draft.exercises,
        "clauses": sorted(draft.clauses),
        **draft.fields,
    }
    (place / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    save_file({name: np.ascontiguousarray(array) for name, array in draft.inputs.items()}, place / "inputs.safetensors")
    if draft.checkpoint:
        draft.checkpoint.save(place / "checkpoint")
    case = Case(place, manifest)
    truth = case.evaluate(model, "float64")
    save_file({name: np.ascontiguousarray(value) for name, value in truth.items()}, place / "expected.safetensors")
    if "config" in manifest:
        case.params.save(place)  # for the witnesses, in the Hugging Face layout
    return case


def run_witnesses(root: Path) -> None:
    """Have every witness answer all cases staged below ``root``; each answer stands beside its question."""
    python, tools = os.environ["DEBERTA_REF_PORTS_PYTHON"], HERE.parent / "ports" / "tools"
    if any(root.glob("*/model.safetensors")):
        for port, dtype in WITNESSES.items():
            command = [python, str(tools / "run.py"), port, str(root), "--dtype", dtype]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    else:
        subprocess.run([python, str(tools / "operations.py"), str(root)], check=True, stdout=subprocess.DEVNULL)


def versions() -> dict[str, str]:
    """The version of every witness."""
    code = (
        f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {list(NAMES.values())}}}))"
    )
    python = os.environ["DEBERTA_REF_PORTS_PYTHON"]
    found = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(found.stdout))


def witnessed(case: Case, floors: dict[str, noise.Size], versions: dict[str, str]) -> list[dict[str, Any]]:
    """What the witnesses gave for a case, as its manifest has it; ValueError where one differs without a reason."""
    found = []
    for port, dtype in (OPERATIONS if case.suite == "ops" else WITNESSES).items():
        path = case.directory / f"{port}.safetensors"
        if not path.is_file():
            continue
        theirs = case.view(load_file(path))
        entry: dict[str, Any] = {"implementation": NAMES[port], "version": versions[NAMES[port]], "dtype": dtype}
        errors = case.errors(theirs)
        if dtype == "float32":
            (required,) = case.required
            score = noise.scores({required: errors[required]}, floors)[required]
            agrees = score < 2
            entry |= {"score": score} if math.isfinite(score) else {"agrees": agrees}  # integers; JSON has no infinity
        else:
            entry["values"] = len(errors)
            entry["largest_deviation"] = max(_relative(case, name, size) for name, size in errors.items())
            agrees = entry["largest_deviation"] <= LIMITS.get(case.id, EXACT)
        why = REASONS.get((case.id, entry["implementation"])) or _reason(case, entry)
        if agrees == bool(why):
            raise ValueError(f"{case.id}: {entry} has {'a reason that it does not need' if why else 'no reason'}.")
        found.append({**entry, "why": why} if why else entry)
    if sum("why" not in entry for entry in found) < 2:
        raise ValueError(f"{case.id}: fewer than two witnesses agree: {found}")
    return found


def _relative(case: Case, name: str, size: noise.Size) -> float:
    """An error relative to the largest number; of a whole model's taps, to 1 at least."""
    largest = float(abs(case.expected[name]).max())
    return size.max / (largest if case.suite == "ops" else max(largest, 1.0)) if size.max else 0.0


def _reason(case: Case, entry: dict[str, Any]) -> str | None:
    """Why transformers differs a little wherever 3d is no perfect square."""
    if entry["implementation"] != "transformers" or "config" not in case.manifest:
        return None
    squared = math.isqrt(3 * case.config.head_dim) ** 2 == 3 * case.config.head_dim
    small = EXACT < entry["largest_deviation"] <= FLOAT32_ROOT
    return "it takes sqrt(3d) in float32, and 3d is no perfect square here" if small and not squared else None


def write(case: Case, root: Path, versions: dict[str, str], least: float = 2 * REJECTED) -> None:
    """Write a staged case, below ``root``, if what its witnesses gave agrees; ``least`` is what a catch scores."""
    floors = noise.ensemble(lambda variant: case.evaluate(variant, "float32"), case.errors)
    witnesses = witnessed(case, floors, versions)
    kept = {name: tap for name, tap in case.expected.items() if case.suite not in SUMMARISED or name != ROW}
    if case.suite != "ops":
        large = {"TT": case.inputs["padding_mask"].shape[1] > MOST_PAIRS, "HR": case.config.num_relative > MOST_ROWS}
        axes = tap_axes(case.config)
        kept = {n: tap for n, tap in kept.items() if not any(large[a] and a in axes.get(n, "") for a in large)}
    place = root / case.id
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(case.directory / "inputs.safetensors", place)
    save_file(kept, place / "expected.safetensors")
    if (case.directory / "checkpoint").is_dir():
        shutil.copytree(case.directory / "checkpoint", place / "checkpoint")
    manifest = {
        **case.manifest,
        **({} if case.large else {"catches": caught(case, floors, least)}),
        "permits": [variation.id for variation in variations.values() if shows(case, variation, floors, REJECTED)],
        "floors": {name: asdict(floors[name]) for name, value in kept.items() if value.dtype.kind == "f"},
        **({"precisions": precisions_of(case)} if case.suite == "precision" else {}),
        "witnesses": witnesses,
        "generated": dt.datetime.now(dt.timezone.utc).date().isoformat(),
    }
    (place / "manifest.json").write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", "utf-8")


def precisions_of(case: Case) -> dict[str, Any]:
    """The floors of a case in every precision but float32."""
    evaluate = lambda module, dtype: {n: v for n, v in case.evaluate(module, dtype).items() if n != ROW}
    return {
        precision: {name: asdict(size) for name, size in precisions.floors(precision, evaluate, case.errors).items()}
        for precision in PRECISIONS[1:]
    }


def shows(case: Case, mutant: Mistake, floors: dict[str, noise.Size], least: float) -> bool:
    """Whether what is required of this mutant, in float32, scores ``least`` or more."""
    try:
        answer = case.evaluate(mutant.model(), "float32")
    except (ValueError, IndexError, TypeError):  # it cannot even compute this case
        return True
    errors = case.errors({name: answer[name] for name in case.required})
    return max(noise.scores(errors, floors).values()) >= least


def caught(case: Case, floors: dict[str, noise.Size], least: float = 2 * REJECTED) -> list[str]:
    """The mutants that show in what is required, in their order."""
    judged = (mutant for mutant in mutants.values() if mutant.shows in {"output", "operation"})
    return [mutant.id for mutant in judged if shows(case, mutant, floors, least)]


def differences(old: Path, new: Path) -> list[str]:
    """How the case in ``old`` differs from the one in ``new``: integers exactly, floats by 1e-12 of the largest."""
    found = []
    if not (old / "manifest.json").is_file():
        return [f"{old.parent.name}/{old.name} is not there"]
    before, after = (Case(place, json.loads((place / "manifest.json").read_text("utf-8"))) for place in (old, new))
    measured = {"floors", "precisions", "witnesses", "generated", "catches"}
    fields = (before.manifest.keys() | after.manifest.keys()) - measured
    found += [f"{before.id}: {f} differs" for f in sorted(fields) if before.manifest.get(f) != after.manifest.get(f)]
    lost = set(before.manifest.get("catches", ())) - set(after.manifest.get("catches", ()))
    found += [f"{before.id} does not catch {name}" for name in sorted(lost)]
    for kind in ("inputs", "expected"):
        one, other = getattr(before, kind), getattr(after, kind)
        if one.keys() != other.keys():
            found.append(f"{before.id}: {kind} holds other tensors")
        for name in one.keys() & other.keys():
            limit = max(1e-12, LIMITS.get(before.id, 0)) * max(1, abs(other[name]).max(initial=0))
            limit = limit if other[name].dtype.kind == "f" else 0
            if one[name].shape != other[name].shape or abs(one[name] - other[name]).max(initial=0) > limit:
                found.append(f"{before.id}: {name} differs")
    return found


def batches(wanted: Callable[[str], bool]) -> Iterator[Iterator[Draft]]:
    """What is staged and witnessed together: operations, small models, and each of the published sizes alone."""
    yield (draft for draft in operations() if wanted(draft.id))
    chosen = [name for name in IDS if wanted(name)]
    yield (drafted(name) for name in chosen if not name.startswith("presets/"))
    yield from (map(drafted, [name]) for name in chosen if name.startswith("presets/"))


def main() -> int:
    """Write every case, or check what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something differs")
    parser.add_argument("--only", metavar="ID", help="this case, or this suite, alone")
    options = parser.parse_args()
    wanted = lambda name: options.only in {None, name, name.partition("/")[0]}
    found: list[str] = []
    used = versions()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "cases" if options.check else HERE / "cases"
        written = texts.write(root, options.only)
        for batch in batches(wanted):
            with tempfile.TemporaryDirectory(dir=scratch) as staged:
                cases = [stage(draft, Path(staged)) for draft in batch]
                if cases:
                    run_witnesses(Path(staged))
                for case in cases:
                    write(case, root, used, REJECTED if options.check else 2 * REJECTED)
                    written.append(case.id)
                    print(case.id, flush=True)
        if options.check:
            for name in written:
                compare = texts.differences if name.startswith("tokenizer/") else differences
                found += compare(HERE / "cases" / name, root / name)
    if not options.check:
        cases = corpus(HERE / "cases")
        (HERE / "matrix.md").write_text(matrix(cases) + in_halves(cases), "utf-8")
    print("\n".join(found) or f"{len(written)} cases are as they should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
