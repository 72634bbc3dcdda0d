"""Count what becomes of many cases: ``python -m tests.fuzz --cases 50000 --seed 1``."""

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.fuzz.cases import KINDS, Case, shared_out, typed
from tests.fuzz.child import environment, judged, prepared
from tests.fuzz.judge import FAULTS
from tests.fuzz.parent import outcomes
from tests.fuzz.sandbox import Place
from tests.fuzz.watch import Watch


def table(rows):
    """A Markdown table of outcomes by kind."""
    head = ["kind", "cases", "refused", "answered", *FAULTS, "most MiB", "slowest s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind, found in [*rows.items(), ("all", [o for part in rows.values() for o in part])]:
        cells = [kind, len(found), *(sum(o.ended == e for o in found) for e in head[2:4])]
        cells += [sum(fault in o.faults for o in found) for fault in FAULTS]
        cells += [max((o.memory for o in found), default=0) >> 20]
        cells += [f"{max((o.seconds for o in found), default=0):.1f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def one(case, folder):
    """Run a case here, in a folder that stays; whether it is sound."""
    place = Place(folder)
    os.environ.update(environment(place.base))
    prepared()
    arguments, outcome = judged(place, Watch(place), case)
    print(f"in {place.work}:\n  {typed(arguments)}\n{outcome.ended}: {outcome.said}")
    for fault, said in outcome.faults.items():
        print(f"{fault}: {said}")
    return not outcome.faults


def many(cases, base):
    """Run cases and print those that fail, then the table; whether all are sound."""
    rows = defaultdict(list)
    for case, arguments, outcome in outcomes(cases, base):
        rows[case.kind].append(outcome)
        if outcome.faults:
            print(f"{typed(arguments)}\n  {outcome.said}", file=sys.stderr)
            for fault, said in outcome.faults.items():
                print(f"  {fault}: {said}", file=sys.stderr)
            print(f"  again: {case.again()}", file=sys.stderr, flush=True)
    print(table(rows))
    return not any(outcome.faults for part in rows.values() for outcome in part)


def main():
    """Read the command line; the exit code is 1 where a case fails."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many, of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="these kinds alone")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="one case of --kind alone")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files of --case stay")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if asked.case is not None:
            sound = one(
                Case((asked.kind or ["cli"])[0], asked.seed, asked.case), asked.keep or scratch
            )
        else:
            sound = many(shared_out(asked.cases, asked.seed, asked.kind), Path(scratch).resolve())
        os.chdir("/")
    sys.exit(not sound)


if __name__ == "__main__":
    main()
