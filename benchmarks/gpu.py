"""Every CUDA path once, and the larger trainings, in less than ten minutes on one GPU.

    benchmarks/gpu.sh --data fashion-mnist
    python -m benchmarks.gpu --toy

Each check prints one line; one that fails does not stop the others, and the exit code is 1. The
figures go to the section of docs/benchmarks.md between two markers, pictures to the output folder.
With ``--toy`` everything is tried at toy size on any machine, what needs CUDA is said not to be
run, and the section is written to the output folder only.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from benchmarks import gpu_checks as checks
from benchmarks import gpu_commands as commands
from benchmarks.gpu_checks import ROOT, Bench, NotRun, Size
from benchmarks.gpu_trainings import COLUMNS, training
from diffode.files import require_writable, write_text
from diffode.tables import Table

FULL = Size(width=64, batch=256, seconds=45.0, samples=1000, points=50_000, coordinates=3072)
TOY = Size(width=8, batch=16, seconds=0.2, samples=40, points=500, coordinates=192)
FIELDS, NETWORKS = ("edm", "poisson", "rectified"), ("unet", "dit")
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
CHECKS: dict[str, Callable[[Bench], str]] = {
    "draws": checks.draws,
    "exact field": checks.exact_field,
    "bf16": lambda bench: checks.precision(bench, "bf16"),
    "fp16": lambda bench: checks.precision(bench, "fp16"),
    "compile": checks.compiled,
    "samples": checks.samples,
    "likelihood": checks.likelihood,
    "one process of torchrun": checks.launched,
    "fields": commands.every_field,
    "solvers": commands.every_solver,
    "commands": commands.every_command,
}


@dataclass(frozen=True)
class Line:
    """What came of a check.

    Attributes:
        name: of the check.
        came: "ok", "FAILED" or "not run".
        text: the figures, or why.
        seconds: that it took.
    """

    name: str
    came: str
    text: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.came:7} {self.seconds:6.1f} s  {self.name}: {self.text}"


def carried_out(name: str, check: Callable[[], str]) -> Line:
    """Make a check; an error is what came of it."""
    began = time.perf_counter()
    try:
        came, text = "ok", check()
    except NotRun as why:
        came, text = "not run", str(why)
    except Exception as error:  # whatever it is, the other checks are made
        came, text = "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    line = Line(name, came, text, time.perf_counter() - began)
    print(line, flush=True)
    return line


def section(bench: Bench, lines: list[Line], seconds: float) -> str:
    """The section of the page: the device, the trainings, the checks."""
    about = (
        f"Written by `benchmarks/gpu.sh` on {date.today()}: {bench.machine}, torch "
        f"{torch.__version__}, Python {platform.python_version()}; trainings of "
        f"{bench.size.seconds:.3g} s, {seconds:.0f} s in all."
    )
    trained = Table(COLUMNS, bench.rows)
    made = Table(
        ["check", "", "figures", "seconds"],
        [[n.name, n.came, n.text.replace("|", "/"), f"{n.seconds:.1f}"] for n in lines],
    )
    tables = [trained.markdown()] if bench.rows else []
    notes = [f"- {note}" for note in bench.notes]
    return "\n\n".join([about, *tables, *(["\n".join(notes)] if notes else []), made.markdown()])


def rewritten(page: str, new: str) -> str:
    """A page with another section between its markers.

    Raises:
        ValueError: a page without the two markers, each once and in order.
    """
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended or BEGIN in rest or END in after:
        raise ValueError(f"the page needs {BEGIN} and, after it, {END}, each of them once")
    return f"{before}{BEGIN}\n\n{new.strip()}\n\n{END}{after}"


def main() -> None:
    """Make all checks, and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images: a name or a file (fashion-mnist; toy: digits)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="the output folder")
    parser.add_argument("--page", type=Path, help="where the section is rewritten")
    parser.add_argument("--seconds", type=float, help="of each training")
    parser.add_argument("--toy", action="store_true", help="toy size, on any machine")
    asked = parser.parse_args()
    if not asked.toy and not torch.cuda.is_available():
        parser.exit(2, "no CUDA device is available here; --toy tries everything at toy size\n")
    size = (TOY if asked.toy else FULL).lasting(asked.seconds)
    page = asked.page or (None if asked.toy else PAGE)
    try:
        out = require_writable(asked.out)
        bench = Bench.of(asked.data or ("digits" if asked.toy else "fashion-mnist"), size, out)
        if page is not None:
            rewritten(page.read_text(encoding="utf-8"), "")  # refused now, if at all
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared with float32
    began = time.perf_counter()
    lines = [carried_out(name, lambda c=check: c(bench)) for name, check in CHECKS.items()]
    for network in NETWORKS:
        for field in FIELDS:
            cell = training(bench, field, network)
            lines.append(carried_out(f"{field}, {network}", cell))
    text = section(bench, lines, time.perf_counter() - began)
    write_text(out / "gpu.md", text + "\n")
    print(f"wrote {out / 'gpu.md'}")
    if page is not None:
        write_text(page, rewritten(page.read_text(encoding="utf-8"), text))
        print(f"wrote {page}")
    sys.exit(any(line.came == "FAILED" for line in lines))


if __name__ == "__main__":
    main()
