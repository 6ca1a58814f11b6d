"""What the diagnosis calls each of the sixty mistakes, which were not made with its list in mind.

Run by an interpreter that has PyTorch: ``python tests/handwritten/name_them.py [--only NAME]``. Each mistaken port is
asked every case of the suites model and long, and returns the last hidden state alone.
"""

import argparse
import time

from mistakes import MISTAKES, outputs

from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.diagnosis.diagnose import diagnose
from deberta_ref.conformance.verdict import LIMIT


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", help="one mistake alone", choices=[m.name for m in MISTAKES])
    only = parser.parse_args().only
    asked = [mistake for mistake in MISTAKES if only in {None, mistake.name}]
    cases = [case for case in corpus() if case.suite in {"model", "long"}]
    named = 0
    for mistake in asked:
        answers = [(case, {} if y is None else {"output": y}) for case, y in outputs(mistake.load, cases)]
        start = time.perf_counter()
        matches = diagnose(answers)
        seconds = time.perf_counter() - start
        first = matches[0] if matches else None
        names = first is not None and first.score <= LIMIT
        named += names
        print(f"{mistake.name}  {seconds:.1f} s\n  made:    {mistake.sentence}")
        if first is None:
            print("  nothing is said")
        else:
            word = "named: " if names else "nearest:"
            print(f"  {word:8} {first.mutant}, score {first.score:.3g}: {first.sentence}")
            others = [match.mutant for match in matches[1:] if match.score <= LIMIT]
            if others:
                print(f"  also:    {', '.join(others)}")
    print(f"{named} of {len(asked)} are named.")


if __name__ == "__main__":
    main()
