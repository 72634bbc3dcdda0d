"""``python -m tests.faults``: try every fault on every command, and print what was lost."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.cases import KILLS, Case, cases
from tests.faults.child import Broken, read_all_modules
from tests.faults.shop import Shop

HEAD = ("fault", "command", "what must hold", "tried", "held")


def main() -> int:
    """Carry out what was asked for; 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help="of each command [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [%(default)s]")
    parser.add_argument("--only", action="append", help="cases with these words in their row")
    parser.add_argument("--quiet", action="store_true", help="no line for each try")
    asked = parser.parse_args()
    chosen = [case for case in cases(asked.kills) if _is_asked(case, asked.only)]
    read_all_modules()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        held = [_tried(shop, case, asked.seed, asked.quiet) for case in chosen]
    print()
    for line in table(chosen, held):
        print(line)
    tried = sum(case.times for case in chosen)
    print(f"\n{sum(held)} of {tried} held")
    return 0 if sum(held) == tried else 1


def _is_asked(case: Case, only: list[str] | None) -> bool:
    row = f"{case.fault}: {case.command}"
    return not only or any(words in row for words in only)


def _tried(shop: Shop, case: Case, seed: int, quiet: bool) -> int:
    """How many tries of a case held."""
    held = 0
    for number in range(case.times):
        where = f"{case.fault}: {case.command}, {number + 1} of {case.times}"
        dice = random.Random(f"{seed}/{case.fault}/{case.command}/{number}")
        try:
            what = case.check(shop, dice, number)
        except Broken as broken:
            print(f"LOST {where}: {broken}", flush=True)
            continue
        held += 1
        if not quiet:
            print(f"held {where}: {what}", flush=True)
    return held


def table(chosen: list[Case], held: list[int]) -> list[str]:
    """The counts as Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---:|---:|"]
    for case, count in zip(chosen, held, strict=True):
        row = (case.fault, case.command, case.holds, str(case.times), str(count))
        lines.append(f"| {' | '.join(row)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
