"""Write the golden cases, each agreed on by witnesses; or, with --check, make them again and compare.

    DEBERTA_REF_PORTS_PYTHON=.venv-ports/bin/python python golden/generate.py [--check] [--only ID]

The interpreter named has ports/requirements.txt installed. A value is written only if the authors' package and
transformers, in float64, agree with the reference on every tap, and KerasHub, in float32, within its noise.
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
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from deberta_ref import Config, Params, Tokenizer, from_preset, trace
from deberta_ref.conformance import noise
from deberta_ref.conformance.corpus import Case
from deberta_ref.conformance.mutants import mutants
from deberta_ref.recipe import from_recipe, recipe_ids
from deberta_ref.taps import record, tap_axes

HERE = Path(__file__).parent
DEMO = "deberta_v3_demo_en"

EXACT = 1e-13
"""Of a tap's largest value: what two float64 evaluations may differ by."""

FLOAT32_ROOT = 1e-6
"""The same for transformers where 3d is no perfect square: it takes that root in float32."""

WITNESSES = {"authors": "float64", "huggingface": "float64", "kerashub": "float32"}
"""The ports that are asked, and what they compute in."""

MOST_PAIRS = 40
"""The longest T whose taps of pairs are written: those of longer cases take megabytes and follow from the others."""

SENTENCES = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune,",
    "must be in want",
]


@dataclass(frozen=True)
class Plan:
    """How a case is made."""

    id: str
    exercises: str
    clauses: tuple[str, ...]
    config: Config
    T: int
    mask: str = "whole"  # whole | tail | holes
    B: int = 3
    scale: tuple[tuple[str, ...], float] | None = None  # parameters whose names end so are multiplied
    first_id: int | None = None  # put this id first in every example
    demo: bool = False


def small(**sizes: int) -> Config:
    """A configuration of head size 12, whose scale is exactly 6, unless it says otherwise."""
    usual = {"vocabulary_size": 60, "num_layers": 2, "num_heads": 2, "hidden_dim": 24, "intermediate_dim": 32}
    return Config(**(usual | {"max_sequence_length": 16, "bucket_size": 8} | sizes))


PLANS = (
    Plan("model/one-token", "A token alone, which hears itself: T of 1.", ("ATT-PROBS", "EMB-NORM"), small(), 1, B=2),
    Plan(
        "model/whole",
        "Sequences without padding, at the longest length.",
        ("ATT-C2P", "ATT-P2C", "REL-ROW"),
        small(),
        16,
    ),
    Plan(
        "model/tail-padding", "Examples of different lengths, padded at the end.", ("PAD-ABSENT",), small(), 16, "tail"
    ),
    Plan(
        "model/holes",
        "Padding between valid tokens, and an example without any.",
        ("PAD-POSITIONS",),
        small(),
        16,
        "holes",
    ),
    Plan("model/id-0-valid", "Id 0 with a mask of 1, which is no padding.", ("IN-IDS",), small(), 9, first_id=0),
    Plan(
        "model/odd-buckets",
        "An odd number of buckets, whose middle is rounded down.",
        ("REL-BUCKET", "IN-CONFIG"),
        small(bucket_size=7, max_sequence_length=20),
        20,
        "tail",
    ),
    Plan(
        "model/one-head",
        "One attention head, twelve features wide.",
        ("ATT-HEADS", "ATT-SCALE"),
        small(num_heads=1, hidden_dim=12),
        14,
        "tail",
    ),
    Plan(
        "model/many-heads",
        "Sixteen heads of three features.",
        ("ATT-HEADS", "ATT-CONTEXT"),
        small(num_heads=16, hidden_dim=48),
        14,
        "tail",
    ),
    Plan(
        "model/keras-hub-test",
        "The sizes of KerasHub's unit test: two features, 256 buckets for five positions.",
        ("IN-CONFIG", "REL-BUCKET"),
        Config(10, 2, 2, 2, 4, max_sequence_length=5),
        5,
        "tail",
    ),
    Plan(
        "model/sharp-attention",
        "Queries three times as large: float32 errs more, and mistakes still show.",
        ("NOISE-SCORE", "NUM-SOFTMAX"),
        small(num_layers=3),
        16,
        "tail",
        scale=(("query.weight",), 3),
    ),
    Plan(
        "model/huge-scores",
        "Queries and keys six times as large: the exponential of a score overflows unless the largest is subtracted.",
        ("NUM-SOFTMAX",),
        small(num_layers=1, max_sequence_length=32),
        30,
        "tail",
        scale=(("query.weight", "key.weight"), 6),
    ),
    Plan(
        "model/tiny-variance",
        "Embeddings so small that epsilon decides their normalisation.",
        ("NORM-EPSILON", "NORM-DEFINITION"),
        small(),
        12,
        "tail",
        scale=(("embedding",), 2.0**-13),
    ),
    Plan(
        "model/log-buckets",
        "160 tokens at the published (256, 512), where distances beyond 128 share buckets.",
        ("REL-BUCKET",),
        Config(60, 1, 1, 12, 16),
        160,
        "tail",
        B=2,
    ),
    Plan(
        "model/longest",
        "512 tokens at (256, 512), the longest that the published models take.",
        ("REL-BUCKET", "IN-LENGTH"),
        Config(60, 2, 1, 12, 16),
        512,
        B=1,
    ),
    Plan(
        "model/bucket-64-of-512",
        "512 tokens at (64, 512), where the product before the quotient, in float32, gives bucket 64 at distance 511.",
        ("REL-BUCKET",),
        Config(60, 1, 1, 12, 16, bucket_size=64),
        512,
        B=1,
    ),
    Plan("model/demo", "The trained demo checkpoint on real sentences.", ("LAYER-STACK",), small(), 0, demo=True),
    Plan("long/small", "One and a half times the longest length.", ("REL-LONG",), small(), 24, "tail"),
    Plan("long/published", "520 tokens at (256, 512).", ("REL-LONG",), Config(60, 1, 1, 12, 16), 520, B=1),
)


def made(plan: Plan) -> tuple[Params, dict[str, Any], dict[str, Any]]:
    """The parameters, the inputs, and how the manifest describes the parameters."""
    if plan.demo:
        tokens = Tokenizer.from_preset(DEMO)(SENTENCES)
        return from_preset(DEMO), {name: rows.astype(np.int64) for name, rows in tokens.items()}, {"preset": DEMO}
    params = from_recipe(plan.config)
    source: dict[str, Any] = {"recipe": {"seed": 0}}
    if plan.scale:
        ending, factor = plan.scale
        arrays = {n: a * np.float32(factor) if n.endswith(ending) else a for n, a in params.arrays().items()}
        params, source = Params.from_arrays(plan.config, arrays), {"checkpoint": "checkpoint"}
    ids = recipe_ids(plan.config, plan.B, plan.T).astype(np.int64)
    if plan.first_id is not None:
        ids[:, 0] = plan.first_id
    mask = np.ones((plan.B, plan.T), np.int64)
    for b in range(plan.B):
        if plan.mask == "tail":
            mask[b, plan.T - b * plan.T // plan.B :] = 0
        if plan.mask == "holes":
            mask[b, b :: 2 + b] = 0
    if plan.mask == "holes":
        mask[-1] = 0
    return params, {"token_ids": ids, "padding_mask": mask}, source


def run_witnesses(plans: Iterable[Plan], root: Path) -> None:
    """Write every plan's model and inputs below ``root``, and beside them what each witness gives."""
    for plan in plans:
        params, inputs, _ = made(plan)
        params.save(root / plan.id.replace("/", "-"))
        save_file(inputs, root / plan.id.replace("/", "-") / "inputs.safetensors")
    for port, dtype in WITNESSES.items():
        command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], str(HERE.parent / "ports" / "run.py"), port, str(root)]
        subprocess.run([*command, "--dtype", dtype], check=True, capture_output=True)
        (root / "versions.json").rename(root / f"{port}.json")
        print(f"{port} has run", flush=True)


def witnessed(plan: Plan, root: Path, case: tuple[Params, Any, Any, Any]) -> list[Any]:
    """What the witnesses gave for a case, as the manifest has it."""
    params, inputs, truth, floor = case
    found = []
    for port, dtype in WITNESSES.items():
        theirs = load_file(root / plan.id.replace("/", "-") / f"{port}.safetensors")
        entry = {**json.loads((root / f"{port}.json").read_text("utf-8")), "dtype": dtype}
        errors = noise.errors(theirs, truth, params, inputs)
        if dtype == "float32":
            entry["score"] = noise.scores({"output": errors["output"]}, floor)["output"]
        else:
            if (theirs["relative_row"] != truth["relative_row"]).any():
                raise ValueError(f"{plan.id}: {port} disagrees on relative_row.")
            entry["taps"] = len(theirs)
            entry["largest_deviation"] = max(size.max / max(abs(truth[name]).max(), 1) for name, size in errors.items())
        found.append(entry)
    return found


def agreed(plan: Plan, params: Params, witnesses: list[Any]) -> None:
    """Refuse a case that a witness does not agree on, for a reason that is not known."""
    root = math.isqrt(3 * params.config.head_dim) ** 2 == 3 * params.config.head_dim
    for entry in witnesses:
        if entry["dtype"] == "float64":
            loose = entry["implementation"] == "transformers" and not root
            if loose:
                entry["why"] = "it takes sqrt(3d) in float32, and 3d is no perfect square here"
            if not entry["largest_deviation"] <= (FLOAT32_ROOT if loose else EXACT):
                raise ValueError(f"{plan.id}: {entry}")
        elif not entry["score"] < 2:
            if plan.id != "model/bucket-64-of-512":
                raise ValueError(f"{plan.id}: {entry}")
            entry["why"] = "its bucket at distance 511 is 64, not 63: the catalogued float32 order of operations"


def write(plan: Plan, root: Path, witnesses_root: Path) -> None:
    """Write one case below ``root``, if what its witnesses gave agrees."""
    params, inputs, source = made(plan)
    T = inputs["token_ids"].shape[1]
    long = params.config.max_sequence_length < T
    truth = trace(params, inputs, "float64", allow_long=long)
    floor = noise.floors(params, inputs, allow_long=long)
    witnesses = witnessed(plan, witnesses_root, (params, inputs, truth, floor))
    agreed(plan, params, witnesses)
    axes = tap_axes(params.config)
    kept = {name: tap for name, tap in truth.items() if MOST_PAIRS >= T or "TT" not in axes[name]}
    directory = root / plan.id
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(rows) for name, rows in inputs.items()}, directory / "inputs.safetensors")
    save_file({name: np.ascontiguousarray(tap) for name, tap in kept.items()}, directory / "expected.safetensors")
    if "checkpoint" in source:
        params.save(directory / "checkpoint")
    manifest = {
        "id": plan.id,
        "format": 1,
        "exercises": plan.exercises,
        "clauses": sorted(plan.clauses),
        "catches": caught(params, inputs, truth, floor, allow_long=long),
        "config": asdict(params.config),
        "parameters": source,
        "allow_long": long,
        "floors": {name: asdict(floor[name]) for name in kept if name != "relative_row"},
        "witnesses": witnesses,
        "generated": dt.datetime.now(dt.timezone.utc).date().isoformat(),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def caught(params: Params, inputs: Any, truth: Any, floor: Any, *, allow_long: bool) -> list[str]:
    """The mutants whose float32 output scores ten noise multiples or more, in their order."""
    found = []
    for mutant in mutants.values():
        if mutant.shows == "output":
            try:
                output = record(mutant.model(), params, inputs, "float32", allow_long=allow_long)["output"]
            except (ValueError, IndexError, TypeError):  # it cannot even compute this case
                found.append(mutant.id)
                continue
            errors = noise.errors({"output": output}, truth, params, inputs)
            if noise.scores(errors, floor)["output"] >= 10:
                found.append(mutant.id)
    return found


def differences(old: Path, new: Path) -> list[str]:
    """How the case in ``old`` differs from the one in ``new``: integers exactly, floats by 1e-12 of the largest."""
    found = []
    before, after = (Case(place, json.loads((place / "manifest.json").read_text("utf-8"))) for place in (old, new))
    fields = ("id", "format", "exercises", "clauses", "catches", "config", "parameters", "allow_long")
    found += [f"{before.id}: {field} differs" for field in fields if before.manifest[field] != after.manifest[field]]
    for kind in ("inputs", "expected"):
        one, other = getattr(before, kind), getattr(after, kind)
        if one.keys() != other.keys():
            found.append(f"{before.id}: {kind} holds other tensors")
        for name in one.keys() & other.keys():
            limit = 1e-12 * max(1, abs(other[name]).max(initial=0)) if other[name].dtype.kind == "f" else 0
            if one[name].shape != other[name].shape or abs(one[name] - other[name]).max(initial=0) > limit:
                found.append(f"{before.id}: {name} differs")
    return found


def main() -> int:
    """Write every case, or check what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something differs")
    parser.add_argument("--only", metavar="ID", help="this case alone")
    options = parser.parse_args()
    plans = [plan for plan in PLANS if options.only in {None, plan.id}]
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        run_witnesses(plans, Path(scratch))
        root = Path(scratch) / "cases" if options.check else HERE / "cases"
        for plan in plans:
            write(plan, root, Path(scratch))
            if options.check:
                found += differences(HERE / "cases" / plan.id, root / plan.id)
            print(plan.id, flush=True)
    print("\n".join(found) or f"{len(plans)} cases are as they should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
