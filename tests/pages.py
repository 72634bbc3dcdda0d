"""What the pages tell a reader to type, found in them and run in the order printed.

A new line of a page is run by standing there. Trainings and samples are made small by further
options (`SMALL`), and what stands in `LEFT_OUT` is left out for the reason that stands beside it.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffode.cli.app import run
from tests.runs import beside

ROOT = Path(__file__).parents[1]
TRANSLATED = ROOT / "docs/zh"  # its code is that of the pages it translates
PAGES = (
    "README.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if TRANSLATED not in path.parents
    ),
)
PROGRAMS = ("diffode", "python", "python3", "make", "torchrun", "source", "pre-commit", "pip")
NETWORK = ["--set", "width=16", "--set", "depth=1"]

SMALL = {
    "train": [*NETWORK, "--batch", "16", "--samples", "20", "--device", "cpu"],
    "sample": ["--device", "cpu"],
    "plot": ["--device", "cpu"],
    "animate": ["--device", "cpu"],
    "distil": ["--set", "batch=16", "--samples", "20", "--device", "cpu"],
    "fit-grid": ["--pilot", "8", "--device", "cpu"],
    "eval": ["--nfe", "3", "--device", "cpu"],
    "likelihood": ["--points", "2", "--set", "rtol=.1", "--set", "atol=.1", "--device", "cpu"],
    "encode": ["--set", "rtol=.1", "--set", "atol=.1", "--device", "cpu"],
    "restore": ["--nfe", "3", "--points", "2", "--device", "cpu"],
    "inpaint": ["--nfe", "3", "--points", "2", "--device", "cpu"],
    "interpolate": ["--nfe", "3", "--device", "cpu"],
    "edit": ["--nfe", "3", "--device", "cpu"],
    "features": ["--set", "epochs=1"],
    "reflow": ["--batch", "16", "--nfe", "3", "--samples", "20", "--device", "cpu"],
    "bench": [
        "--steps",
        "2",
        *NETWORK,
        "--solver",
        "default",
        "--set",
        "batch=16",
        "--device",
        "cpu",
    ],
}  # options of a command, where a line does not state them
FEWER = {
    "distil": {"--steps": "2"},
    "train": {"--steps": "2"},
    "reflow": {"--steps": "2", "--pairs": "40"},
    "eval": {"--samples": "40"},
    "bench": {"--samples": "60"},
    "sample": {"--samples": "16"},
    "animate": {"--frames": "3"},
}
CONFIGURED = {
    "comparison.toml": ["--field", "pfgmpp", "--data", "moons", "--nfe", "5", "--seed", "0"],
    "benchmarks/standing/planar.toml": ["--field", "edm", "--data", "moons", "--seed", "0"],
    "benchmarks/standing/digits.toml": ["--field", "edm", "--seed", "0"],
    "benchmarks/standing/images.toml": ["--field", "edm", "--data", "digits", "--seed", "0"],
}  # a part of what the file compares

LEFT_OUT = {
    "make test": "these tests",
    "make docs": "tests/test_site.py builds the site",
    "source .venv/bin/activate": "the tests run in an environment that is set up",
    "python3 -m venv .venv": "the tests run in an environment that is set up",
    "pip install": "it needs a package index",
    ".venv/bin/python -m pytest": "these tests",
    "python -m pytest": "these tests",
}  # beginnings of lines
WORK = {
    "benchmarks.adaptive": ["tolerances", "clocks", "stiff", "overhead"],
    "benchmarks.claims": ["run"],
    "benchmarks.compare": ["measured", "both"],
    "benchmarks.couplings": ["cell", "table"],
    "benchmarks.digits": ["cell"],
    "benchmarks.exact": ["acceptance", "large", "as_attention"],
    "benchmarks.flowmaps": ["points", "digits"],
    "benchmarks.gpu": ["carried_out"],
    "benchmarks.guidance": ["tables"],
    "benchmarks.guided": ["report"],
    "benchmarks.guidance_digits": ["cell", "table", "picture"],
    "benchmarks.guidance_remedies": ["cell", "table"],
    "benchmarks.inverse": ["table", "particles"],
    "benchmarks.monoflow": ["cell"],
    "benchmarks.overhead": ["measure"],
    "benchmarks.points": ["cell"],
    "benchmarks.processes": ["table"],
    "benchmarks.reflow": ["cell", "table"],
    "benchmarks.schedulers": ["report"],
    "benchmarks.solvers": ["fill"],
    "benchmarks.training": ["bed"],
    "tests.fuzz": ["many", "one"],
    "tests.faults": ["read_all_modules"],
    "benchmarks.training_peers": ["bed"],
}  # the functions that take minutes to hours, of which the tests only see that they are reached


@dataclass
class Step:
    """Something to type: a command line, a block of Python, or a file; and what it shows."""

    kind: str
    text: str
    shown: list[str] = field(default_factory=list)


def steps(page):
    """The steps of a page, in order."""
    found, fence, block, open_ = [], None, [], False
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            if fence is not None:
                found.append(Step(fence, "\n".join(block) + "\n"))
                open_ = True
            fence, block = (line[3:] or "text") if fence is None else None, []
        elif fence is not None:
            block.append(line)
        elif line.startswith("    "):
            text = line.strip().removeprefix("$ ")
            if text.startswith((*(f"{p} " for p in PROGRAMS), ".venv/bin/")):
                found.append(Step("line", text))
                open_ = True
            elif open_:
                found[-1].shown.append(text)
        elif line.strip():
            open_ = False
    return found


def spans(page):
    """The commands and the dotted names in the running text of a page."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def installs(page):
    """What a page has pip install, in lines to type and in sentences."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    for line in [*lines, *spans(page)]:
        for part in line.split(" #")[0].split("&&"):
            _, install, wanted = part.partition("pip install ")
            words = shlex.split(wanted) if install else []
            options = {k for k, word in enumerate(words) if word == "-c"}
            yield from (
                word
                for k, word in enumerate(words)
                if not word.startswith("-") and k - 1 not in options
            )


def small(arguments):
    """The arguments of diffode with options that make the work small."""
    command, *given = arguments
    fewer = FEWER.get(command, {})
    given = [fewer.get(before, text) for before, text in zip(["", *given], given, strict=False)]
    usual = [*SMALL.get(command, []), *(text for pair in fewer.items() for text in pair)]
    usual += CONFIGURED.get(given[0], []) if command == "bench" else []
    if "--minutes" in given:  # it says how many steps
        usual = [text for text in usual if text not in ("--steps", fewer["--steps"])]
    if "--per-class" in given:  # it says how many
        usual = [*SMALL[command]]
    if command == "distil" and "--objective" not in given:  # then it learns from paths
        usual += ["--pairs", "20", "--pairs-nfe", "4"]
    if command == "encode" and "--solver" in given:  # one with steps, without a tolerance
        usual = ["--device", "cpu"]
    if command == "likelihood" and "--solver" in given:  # one with steps, without a tolerance
        usual = ["--points", "2", "--device", "cpu"]
    if "--merge" in given:
        usual = []
    if command == "likelihood" and ("categorical" in given[0] or "masked" in given[0]):
        usual = ["--points", "2", "--device", "cpu"]  # of tokens, which have no tolerance
    if "--resume" in given:
        usual = ["--samples", "20", "--device", "cpu"]
    return [command, *given, *beside(given, usual)]


def carry_out(line, monkeypatch):
    """Run a command line in the working directory; the exit code and what it printed."""
    words = shlex.split(line, comments=True)
    program = Path(words[0]).name
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        if words[:2] == ["make", "train"]:
            recipe = re.search(r"^train:.*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
            made = recipe[1].replace("$(VENV)", ".venv").replace("$(FIELD)", "poisson")
            return carry_out(made, monkeypatch)
        if program == "diffode":
            code = run(small(words[1:]))
        elif words[:2] == ["python", "-m"]:
            code = _benchmark(words[2], words[3:], monkeypatch)
        else:
            assert words[0] == "torchrun", f"nothing is known of {words[0]}"
            k = words.index("diffode")
            launch = ["-m", "torch.distributed.run", "--standalone"]
            launch += [*words[1 : k + 1], *small(words[k + 1 :])]
            env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                [sys.executable, *launch], env=env, capture_output=True, text=True
            )
            code = done.returncode
            print(done.stdout, done.stderr)
    return code, out.getvalue()


class _Reached(Exception):
    """The work that is left out begins."""


def _benchmark(name, arguments, monkeypatch):
    """The main function of a benchmark, with the work of hours left out."""
    package = importlib.util.find_spec(name).submodule_search_locations is not None
    module = importlib.import_module(f"{name}.__main__" if package else name)

    def reached(*arguments, **options):
        raise _Reached

    for work in WORK.get(name, []):
        monkeypatch.setattr(module, work, reached)
        if work in getattr(module, "TABLES", {}):
            monkeypatch.setitem(module.TABLES, work, reached)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    threads = torch.get_num_threads()
    try:
        module.main()
    except _Reached:
        return 0
    except SystemExit as end:
        return end.code or 0
    finally:  # some set it, and more threads than free cores make what follows many times slower
        torch.set_num_threads(threads)
    return 0
