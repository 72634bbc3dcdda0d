"""Has anything become slower? The library's operations at two commits, as ratios.

    python -m benchmarks.compare HEAD~20 HEAD
    python -m benchmarks.compare

Two commits: `benchmarks.measures` runs on the package of each, in turn, in processes of their own.
Each operation is divided by a plain one of torch in the same process, so that the speed of the
machine cancels; the last column divides the two of a round. None: this checkout beside the ratios
that are stored in benchmarks/baseline.json, which ``--store`` writes anew. Medians and quartiles.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from diffode.files import write_text

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
Found = dict[str, list[float]]


def package(revision: str, folder: Path) -> Path:
    """The package as it was at a commit, laid out below a folder."""
    command = ["git", "-C", str(HERE.parent), "archive", "--format=tar", f"{revision}:diffode"]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        raise SystemExit(f"{revision}: {made.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as tar:
        tar.extractall(folder / "diffode", filter="data")
    return folder


def measured(folder: Path, rounds: int, only: str = "") -> Found:
    """The ratios of the package in a folder, by this checkout's measures."""
    path = os.pathsep.join((str(folder), str(HERE.parent)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "benchmarks.measures", "--rounds", str(rounds)]
    command += ["--only", only]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return {k: v for k, v in json.loads(done.stdout).items() if v is not None}


def both(revisions: list[str], rounds: int, only: str = "") -> tuple[Found, Found]:
    """The ratios at two commits: one number a process, processes in turn."""
    found: tuple[Found, Found] = ({}, {})
    with tempfile.TemporaryDirectory() as where:
        folders = [package(r, Path(where, str(k))) for k, r in enumerate(revisions)]
        for _ in range(rounds):
            for folder, out in zip(folders, found, strict=True):
                for name, values in measured(folder, 2, only).items():
                    out.setdefault(name, []).append(statistics.median(values))
    return found


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def table(names: tuple[str, str], before: Found, after: Found) -> str:
    """The ratios of two versions in Markdown, and by how much the second is the first."""
    lines = [f"| operation, over its reference | {names[0]} | {names[1]} | second / first |"]
    lines.append("|---|---|---|---|")
    for name in {**after, **before}:
        a, b = before.get(name, []), after.get(name, [])
        paired = [y / x for x, y in zip(a * len(b) if len(a) == 1 else a, b, strict=False)]
        lines.append(f"| {name} | {' | '.join(spread(v) if v else '-' for v in (a, b, paired))} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Compare two commits, or this checkout with what is stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="*", help="two commits; none: this checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="operations whose name has this text")
    parser.add_argument("--store", action="store_true", help="write the baseline anew")
    told = parser.parse_args(arguments)
    if len(told.revisions) not in (0, 2):
        parser.error(f"want two commits or none, got {len(told.revisions)}")
    if told.store and (told.only or told.revisions):
        parser.error("--store is of all operations of this checkout")
    if told.revisions:
        first, second = told.revisions
        print(table((first, second), *both(told.revisions, told.rounds, told.only)))
        return
    now = measured(HERE.parent, told.rounds, told.only)
    if told.store:
        medians = {k: round(statistics.median(v), 4) for k, v in now.items()}
        write_text(BASELINE, json.dumps(medians, indent=2) + "\n")
    stored = json.loads(BASELINE.read_text())
    print(table(("stored", "now"), {k: [v] for k, v in stored.items() if told.only in k}, now))


if __name__ == "__main__":
    main()
