"""The standing comparison as Markdown, from the folders that `diffode bench` left.

for set in planar digits images; do
    diffode bench benchmarks/standing/$set.toml --out runs/$set
done
python -m benchmarks.standing > docs/standing.md
python -m benchmarks.standing --short
"""

import argparse
from pathlib import Path

from diffode.bench.results import RESULTS, Results, read_results
from diffode.bench.rows import Mean, at, rows
from diffode.bench.tables import markdown
from diffode.cli.hints import command_line
from diffode.tables import Table

CONFIGS = Path("benchmarks/standing")
SETS = ("planar", "digits", "images")
SHOWN = (5, 10, 20, 50)  # evaluations of the short tables


def short(results: Results, data: str) -> str:
    """Each field with its usual solver: the first figure by evaluations, the others at most."""
    table, reference = rows(results), results.references[data]
    metric = reference["headline"]
    beside = [m for m in ("precision", "recall", "copying") if m in reference["floor"]]
    lines = [
        ["real data", *[_floor(reference, metric)] * len(SHOWN)]
        + [_floor(reference, name) for name in beside]
    ]
    for field in dict.fromkeys(r.field for r in table if r.data == data):
        solver = next(r.solver for r in table if (r.data, r.field) == (data, field))
        found = [at(table, data, field, solver, nfe) for nfe in SHOWN]
        last = found[-1]
        assert last is not None
        lines.append(
            [field, *("" if r is None else str(r.metrics[metric]) for r in found)]
            + [str(last.metrics[name]) for name in beside]
        )
    head = ["", *map(str, SHOWN), *(f"{name} at {SHOWN[-1]}" for name in beside)]
    table = Table(head, lines, marks={(0, 0): "reference"})
    return f"{data}: {metric}\n\n{table.markdown()}"


def _floor(reference: dict, name: str) -> str:
    value, stderr = reference["floor"][name]
    return str(Mean.of([value], [stderr]))


def main() -> None:
    """Print the whole report of each set, or its short table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if missing := [name for name in SETS if not (options.runs / name / RESULTS).is_file()]:
        lines = [
            command_line("bench", CONFIGS / f"{name}.toml", "--out", options.runs / name)
            for name in missing
        ]
        parser.exit(2, f"missing: {', '.join(missing)}; make them with{''.join(lines)}\n")
    found = {name: read_results(options.runs / name) for name in SETS}
    if options.short:
        print("\n\n".join(short(r, data) for r in found.values() for data in r.references))
        return
    print("# The standing comparison, every table\n")
    for name in SETS:
        print(f"    diffode bench benchmarks/standing/{name}.toml --out runs/{name}")
    print("    python -m benchmarks.standing")
    for name, results in found.items():
        seeds = len(results.configs[0]["seeds"])
        print(f"\nSeeds of {name}: {seeds}.\n\n{markdown(results)}")


if __name__ == "__main__":
    main()
