"""Write the golden cases of the suite ``tokenizer``, each agreed on by witnesses. ``generate.py`` calls this.

A case is written only if KerasHub, which does everything itself, and either transformers or tokenizers, whose pieces
come from another library than sentencepiece's, give exactly the reference's ids and masks. One case is an exception:
both make special tokens of what is typed in a text, and KerasHub and the authors' tokenizer do not. An implementation
that differs must give exactly what a mutant gives that is known of it: that is the reason in the manifest.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from deberta_ref import Tokenizer
from deberta_ref.checkpoints import locate
from deberta_ref.conformance.cases.corpus import tokenized
from deberta_ref.conformance.cases.variants import Edit, copied
from deberta_ref.conformance.mistakes.mutants.text import MUTANTS, TEXT

PORT = Path(__file__).parents[1] / "ports" / "tools" / "text.py"
DEMO = "deberta_v3_demo_en"

REASONS = {
    ("transformers", "normaliser-nfc"): "it has NFC and a rule for blanks of its own, not the model's normaliser (T3)",
    ("transformers", "typed-special-tokens"): "special tokens typed in a text are special to it (T5)",
    ("tokenizers", "typed-special-tokens"): "special tokens typed in a text are special to it (T5)",
    ("transformers", "cut-longest-first"): "its 'longest_first' gives the odd place of a pair to the longer text, "
    "and to the second where they are as long",
    ("tokenizers", "marks-dropped"): "it lets the shortest match in the model's map stand for a letter with all its "
    "marks (huggingface/tokenizers#2116)",
}
"""Why an implementation differs, by it and by the mutant that gives exactly what it gives."""

TYPED = "tokenizer/typed-special-tokens"


@dataclass(frozen=True)
class Plan:
    """How a case is made."""

    id: str
    exercises: str
    clauses: tuple[str, ...]
    texts: tuple[str | tuple[str, str], ...]
    sequence_length: int | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """What is asked."""
        return {"texts": list(self.texts), "sequence_length": self.sequence_length}


TRUTH = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want."
ASKED = "“My dear Mr. Bennet,” said his lady to him one day, “have you heard that Netherfield Park is let at last?”"

PLANS = (
    Plan(
        "tokenizer/sentences",
        "Sentences of different lengths: capitals, figures, punctuation, quotation marks, accents.",
        ("TOK-PAD", "TOK-PIECES", "TOK-SPECIAL"),
        (TRUTH, ASKED, "The QUICK brown fox; the lazy dog!", "12 layers - or 24? - cost $1,234.56 (99%).", "é", "I"),
    ),
    Plan(
        "tokenizer/pairs",
        "Pairs of texts, either of them or both empty, padded to more than the longest needs.",
        ("TOK-PAD", "TOK-SPECIAL"),
        (
            ("A man is walking in the park.", "Nobody is in the park."),
            ("She was", "not at all happy, and said so."),
            ("", "The first is empty."),
            ("The second is empty.", ""),
            ("", ""),
        ),
        30,
    ),
    Plan(
        "tokenizer/cut",
        "Texts cut at 13 tokens: too long by many and by one, exactly as long, shorter, empty.",
        ("TOK-CUT", "TOK-PAD"),
        (TRUTH, "a b c d e f g h i j k l", "a b c d e f g h i j k", "a b c", ""),
        13,
    ),
    Plan(
        "tokenizer/cut-pairs",
        "Pairs cut at 14 tokens, 11 places for two texts: both long, one short, as long as one another, one empty.",
        ("TOK-CUT", "TOK-SPECIAL"),
        (
            (TRUTH, ASKED),
            ("a b c d e f g h", "i j k l m n"),
            ("a b c d e f", "g h i j k l"),
            ("a b", "c d e f g h i j k l m n"),
            ("a b c d e f g h i j k l", "m n"),
            ("a b c d e", "f g h i j k"),
            ("", "a b c d e f g h i j k l"),
            ("a b c d e f g h i j k l", ""),
        ),
        14,
    ),
    Plan(
        "tokenizer/normalisation",
        "What the model's own map of characters rewrites: ligatures, full-width and other forms, odd blanks, controls.",
        ("TOK-PIECES",),
        (
            "ﬁne oﬃces",
            "Ⅳ, ½ and ①, x², １２３",
            "ＡＢＣ ﾃｷｽﾄ 𝒜𝔅",
            "and so on… ™",
            "the\u00a0fox\u2002and\u3000dog",
            "the\u200bfox",
            "\ufeffthe fox",
            "a\u2028b\u0085c",
            "the \x07bell",
            "Ti\u00ea\u0301ng",
        ),
    ),
    Plan(
        "tokenizer/blanks",
        "Blanks, tabs and line ends, before, between and after words, and nothing else.",
        ("TOK-PAD", "TOK-PIECES"),
        (
            "  two before,   three between, one after ",
            "a tab\there",
            "a line\nand another\r\n",
            "\t",
            " ",
            "",
            "\n\n a",
        ),
    ),
    Plan(
        TYPED,
        "Special tokens typed in a text, which are text.",
        ("TOK-PIECES", "TOK-TYPED"),
        ("[MASK] the fox", "a [SEP] b", "the [MASK].", "[CLS][PAD][SEP]", "fox[MASK]fox", "[mask] [ SEP ]"),
    ),
    Plan(
        "tokenizer/unknown",
        "Characters that no piece has, alone and in runs: emoji, CJK, Greek, Hebrew, Devanagari, NUL, loose accents.",
        ("TOK-PIECES",),
        (
            "😀 the 👩‍👩‍👧 fox 🦊",
            "日本語テキスト 中文",
            "x😀😀y",
            "Ω and א, Ж",
            "क्षि",
            "a\x00b",
            "na\u0131\u0308ve q\u0301 e\u0301",
        ),
    ),
    Plan(
        "tokenizer/stacked-marks",
        "Letters with two accents, typed as a letter and two marks.",
        ("TOK-PIECES",),
        ("a\u0300\u0301b", "e\u0302\u0301 e\u0302\u0300", "caf\u00e9\u0301"),
    ),
    Plan(
        "tokenizer/long",
        "A long text and a long word cut at 512 tokens.",
        ("TOK-CUT", "TOK-PIECES"),
        (" ".join([TRUTH, ASKED] * 10), "abcdefghij" * 150),
        512,
    ),
)


def write(root: Path, only: str | None = None) -> list[str]:
    """Write the cases below ``root``, golden/cases; the ids of those written.

    ``only`` is the id of a case, or of the suite. Raises ValueError where the witnesses do not agree.
    """
    plans = [plan for plan in PLANS if only in {None, "tokenizer", plan.id}]
    if not plans:
        return []
    witnesses = asked(plans)
    reference = Tokenizer.from_preset(DEMO)
    mutants = {m.id: copied(TEXT, *m.of(Edit)).Tokenizer.from_preset(DEMO) for m in MUTANTS}
    for n, plan in enumerate(plans):
        expected = given(reference, plan)
        others = {name: given(mutant, plan) for name, mutant in mutants.items()}
        manifest: dict[str, Any] = {
            "id": plan.id,
            "format": 1,
            "exercises": plan.exercises,
            "clauses": sorted(plan.clauses),
            "catches": [name for name, other in others.items() if other != expected],
            "tokenizer": {"preset": DEMO},
            "witnesses": [
                witnessed(plan, name, answer["version"], answer["batches"][n], expected, others)
                for name, answer in witnesses.items()
            ],
            "generated": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        }
        agreed(plan, {entry["implementation"] for entry in manifest["witnesses"] if entry["agrees"]})
        directory = root / plan.id
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        save_file({name: np.array(rows) for name, rows in expected.items()}, directory / "expected.safetensors")
        for name, content in (("inputs", plan.inputs), ("manifest", manifest)):
            (directory / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return [plan.id for plan in plans]


def asked(plans: list[Plan]) -> Any:
    """What every implementation gives for every plan: its answers and its version, by its name."""
    request = {
        "model": str(locate(DEMO, weights=False) / "spm.model"),
        "batches": [plan.inputs for plan in plans],
    }
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / name for name in ("request.json", "answer.json")]
        files[0].write_text(json.dumps(request), "utf-8")
        subprocess.run([os.environ["DEBERTA_REF_PORTS_PYTHON"], PORT, *files], check=True, capture_output=True)
        return json.loads(files[1].read_text("utf-8"))


def given(tokenizer: Any, plan: Plan) -> dict[str, Any]:
    """What a tokenizer gives for a plan, or how it fails."""
    try:
        found = tokenized(tokenizer, plan.inputs)
    except ValueError as error:
        return {"error": str(error)}
    return {name: rows.tolist() for name, rows in found.items()}


def witnessed(
    plan: Plan, name: str, version: str, theirs: Any, expected: Any, others: dict[str, Any]
) -> dict[str, Any]:
    """What an implementation gave for a case, as the manifest has it; ValueError where it differs for no reason."""
    entry = {"implementation": name, "version": version, "agrees": theirs == expected}
    if not entry["agrees"]:
        mutants = [mutant for (who, mutant) in REASONS if who == name and others[mutant] == theirs]
        if not mutants:
            raise ValueError(f"{plan.id}: {name} differs for no known reason: {theirs}, not {expected}")
        entry["why"] = f"{REASONS[name, mutants[0]]}: exactly what the mutant {mutants[0]} gives"
    return entry


def agreed(plan: Plan, names: set[str]) -> None:
    """Refuse a case that too few implementations agree on."""
    needed = {"keras-hub", "deberta"} if plan.id == TYPED else {"keras-hub"}
    if not names >= needed or (plan.id != TYPED and not names & {"transformers", "tokenizers"}):
        raise ValueError(f"{plan.id}: only {', '.join(sorted(names)) or 'no one'} agree.")


def differences(old: Path, new: Path) -> list[str]:
    """How the case in ``old`` differs from the one in ``new``, but for the date: everything exactly."""
    if not (old / "manifest.json").is_file():
        return [f"{old.parent.name}/{old.name} is not there"]
    before, after = (
        {name: json.loads((place / f"{name}.json").read_text("utf-8")) for name in ("manifest", "inputs")}
        | {"expected": {key: rows.tolist() for key, rows in load_file(place / "expected.safetensors").items()}}
        for place in (old, new)
    )
    before["manifest"]["generated"] = after["manifest"]["generated"]
    return [f"{new.parent.name}/{new.name}: {part} differs" for part in before if before[part] != after[part]]
