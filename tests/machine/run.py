"""How many machine-made mistakes the cases reject, and how many of those the diagnosis names.

    python tests/machine/run.py [--sample N] [--only TEXT] [--save FILE [--undiagnosed]]
    python tests/machine/run.py --from FILE [--sample N] [--only TEXT]

The first needs the interpreter of the ports, the second no PyTorch.

Each mutant is transformers' source of DeBERTa-v2 as it is installed, with one change that ``mutate`` makes. It is
loaded in memory and answers the golden cases of whole models. No case is left out: the slowest takes 0.03 s there.

``--save`` writes a pickle of plain types and NumPy arrays:

    {"version": transformers' version,
     "totals": {"possible": n, "made": n, "raising": n, "slow": n, "equivalent": n, "rounding": n},
     "others": {id: "raising", "slow", "equivalent" or "rounding"},
     "mutants": [{"id", "function", "kind", "before", "after": str,
                  "alike": ids of other mutants that give the same,
                  "outputs": {case id: float32 (B, T, D)}, without the cases in which it raises an error}]}

A mutant is "equivalent" if it gives the same bits in every case, and "rounding" if it only rounds otherwise, or is
right but for long inputs, which it may refuse.
"""

import argparse
import pickle
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np

from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.diagnosis.diagnose import MODELS, diagnose
from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.verdict import LIMIT

FIRST = ("model/holes", "model/odd-buckets", "model/demo", "model/many-heads")
"""The cases that mutants are asked first: one that raises an error in all of them is asked no other."""

ALIKE = 1e-5
"""Relative difference, of a case's largest value, up to which two mutants give the same."""

ROUNDING = 1e-6
"""Error in float64, in multiples of the float32 rounding error, up to which a mutant only rounds otherwise.

float64 rounds by 2e-9 of that.
"""

CASES = {case.id: case for case in corpus() if case.suite in MODELS}


def valid(case, values):
    return values[case.inputs["padding_mask"].astype(bool)]


def alike(one, other):
    """Whether two mutants give the same: errors in the same cases, and the same numbers where they compute."""
    if one.keys() != other.keys():
        return False
    for name, case in CASES.items():
        if name in one:
            a, b = (valid(case, outputs[name]) for outputs in (one, other))
            size = np.abs(a, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0)
            if not np.allclose(a, b, rtol=0, atol=ALIKE * size, equal_nan=True):
                return False
    return True


def rejected(outputs):
    """Whether some case rejects what a mutant gives. Long inputs may be refused, so an error there is none."""
    refused = [name for name, case in CASES.items() if name not in outputs and case.suite != "long"]
    return bool(refused) or wrong(outputs)


def wrong(outputs):
    """Whether some number is wrong by more than rounding."""
    return any(Evidence(CASES[name], {"output": np.float64(found)}).fails for name, found in outputs.items())


class Measured:
    """What came of some mutants: totals, and those that differ, one of each behaviour."""

    def __init__(self, models, installed):
        self.models, self.installed = models, installed
        self.right = self.all_of(self.module(installed.tree()))
        self.right64 = self.all_of(self.module(installed.tree()), "float64")
        self.totals = Counter(dict.fromkeys(("made", "raising", "slow", "equivalent", "rounding"), 0))
        self.mutants, self.others = [], {}

    def module(self, tree):
        return self.installed.load(compile(tree, self.installed.FILE, "exec"))

    def all_of(self, module, dtype="float32"):
        given = {name: self.models.answer(module, case, dtype) for name, case in CASES.items()}
        return {name: found for name, found in given.items() if found is not None}

    def take(self, mutant):
        self.totals["made"] += 1
        came, outputs = self.came(mutant)
        if came != "different":
            self.totals[came] += 1
            self.others[mutant.id] = came
            return
        for other in self.mutants:
            if alike(other["outputs"], outputs):
                other["alike"].append(mutant.id)
                return
        texts = {name: getattr(mutant, name) for name in ("id", "function", "kind", "before", "after")}
        self.mutants.append({**texts, "alike": [], "outputs": outputs})

    def came(self, mutant):
        """What a mutant is, and its outputs if it is different."""
        try:
            module = self.installed.load(mutant.code(self.installed.FILE))
            if all(self.models.answer(module, CASES[name]) is None for name in FIRST):
                return "raising", {}
            outputs = self.all_of(module)
            if self.equivalent(outputs):
                return "equivalent", {}
            if not rejected(outputs) and self.rounds(self.all_of(module, "float64")):
                return "rounding", {}
        except self.installed.TooSlow:
            return "slow", {}
        except Exception:  # noqa: BLE001 - whatever a module raises when it is executed
            return "raising", {}
        return "different", outputs

    def equivalent(self, outputs):
        return all(
            name in outputs and np.array_equal(valid(case, outputs[name]), valid(case, self.right[name]))
            for name, case in CASES.items()
        )

    def rounds(self, outputs):
        """Whether float64 outputs are right: exact, or those of the source itself, which takes a root in float32."""
        for name, found in outputs.items():
            case = CASES[name]
            for right in (self.right64[name], case.expected["output"]):
                if abs(valid(case, found - right)).max() <= ROUNDING * case.floors["output"].max:
                    break
            else:
                return False
        return True


def measured(options):
    """The record of mutants that ``--save`` writes; needs PyTorch."""
    import installed  # noqa: PLC0415 - --from needs no PyTorch

    with installed.Models(list(CASES.values())) as models:
        measure = Measured(models, installed)
        if wrong(measure.right):
            sys.exit("transformers itself is wrong: nothing can be said of its mutants.")
        possible = installed.made(models)
        for mutant in chosen(possible, options, lambda mutant: mutant.id):
            measure.take(mutant)
    totals = {"possible": len(possible), **measure.totals}
    return {"version": installed.version(), "totals": totals, "others": measure.others, "mutants": measure.mutants}


def chosen(mutants, options, identity):
    return [mutant for mutant in mutants if options.only in identity(mutant)][:: options.sample]


def diagnosed(record, options):
    """Print what the diagnosis says of each mutant; the number of those that are wrong, rejected, and named."""
    count: dict[str, int] = dict.fromkeys(("distinct", "rejected", "named", "unnamed", "silent", "escaped"), 0)
    seconds = []
    for mutant in record["mutants"]:
        outputs = mutant["outputs"]
        count["distinct"] += 1
        answers = [(c, {"output": np.float64(outputs[n])} if n in outputs else {}) for n, c in CASES.items()]
        if wrong(outputs):
            start = time.perf_counter()
            matches = diagnose(answers, seconds=options.seconds)
            seconds.append(time.perf_counter() - start)
            named = bool(matches) and matches[0].score <= LIMIT
            count["rejected"] += 1
            count["named" if named else "unnamed"] += 1
            first = f"{matches[0].mutant} {matches[0].score:.2g}" if matches else "nothing"
            came = f"{'named' if named else 'NOT NAMED'}: {first}, {seconds[-1]:.1f} s"
        elif rejected(outputs):
            count["rejected"] += 1
            count["silent"] += 1
            came = f"right where it computes, an error in {len(CASES) - len(outputs)} cases"
        else:
            count["escaped"] += 1
            came = "ESCAPED: changes a number, and no case rejects it"
        more = f" (and {len(mutant['alike'])} alike)" if mutant["alike"] else ""
        print(f"{mutant['id']}{more}\n  - {mutant['before']}\n  + {mutant['after']}\n  {came}", flush=True)
    count["milliseconds"] = round(1000 * median(seconds or [0]))
    return count


def main(arguments=None):
    """Measure or read, print, and return all that was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th mutant")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose id contains this")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what they give")
    parser.add_argument("--undiagnosed", action="store_true", help="stop when that is written")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="read what they give")
    parser.add_argument("--seconds", type=float, default=20, help="that one diagnosis may take")
    options = parser.parse_args(arguments)
    if options.source:
        record = pickle.loads(options.source.read_bytes())  # noqa: S301 - one's own file
        record["mutants"] = chosen(record["mutants"], options, lambda mutant: mutant["id"])
    else:
        record = measured(options)
    if options.save:
        options.save.write_bytes(pickle.dumps(record))
    print(f"transformers {record['version']}: {record['totals']}", flush=True)
    if options.undiagnosed:
        return record["totals"]
    count = diagnosed(record, options)
    named, numbers = count["named"], count["named"] + count["unnamed"]
    print(
        f"{count['distinct']} distinct: {count['escaped']} escaped, {count['silent']} right where they compute, "
        f"{numbers} wrong, of which {named} named ({named / max(numbers, 1):.0%}); "
        f"median of a diagnosis {count['milliseconds'] / 1000:.1f} s"
    )
    return {**record["totals"], **count}


if __name__ == "__main__":
    main()
