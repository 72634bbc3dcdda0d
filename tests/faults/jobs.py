"""The commands that are disturbed, each small, and how each is given again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TRAINED = "--device cpu --batch 16 --steps 12 --samples 20"
SIZE = "--set width=8 --set depth=1"
SAVED = "--set save_every=3 --set log_every=1"
TEACHER = f"train edm moons {TRAINED} {SIZE} {SAVED} --out teacher"


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: in the table.
        line: what stands behind ``diffode``.
        out: the folder or file that it makes.
        resume: what is given once the folder is a run; empty repeats the line.
        needs: the command that makes what it reads, or nothing.
    """

    name: str
    line: str
    out: str
    resume: str = ""
    needs: str = ""

    def again(self, folder: Path) -> str:
        """The line that goes on: ``--resume`` from the moment that the run is one."""
        begun = (folder / self.out / "config.json").exists()
        return self.resume if self.resume and begun else self.line


def _train(field: str, data: str, more: str = SIZE) -> Job:
    line = f"train {field} {data} {TRAINED} {more} {SAVED} --out run"
    return Job(f"train {field}", line, "run", "train --resume run --samples 20")


def _distil() -> Job:
    options = "--pairs 64 --pairs-nfe 4 --steps 12 --samples 20 --device cpu"
    line = f"distil teacher {options} --set batch=16 {SAVED} --out run"
    again = "distil teacher --resume run --samples 20 --device cpu"
    return Job("distil", line, "run", again, TEACHER)


def _reflow() -> Job:
    options = f"--pairs 64 --nfe 4 {TRAINED} {SAVED} --out run"
    teacher = TEACHER.replace("edm", "rectified")
    return Job("reflow", f"reflow teacher {options}", "run", "", teacher)


def _bench() -> Job:
    grid = "--field edm --field rectified --data moons --seed 0 --nfe 4 --solver heun"
    size = f"--samples 60 --steps 6 {SIZE} --set batch=16 --set save_every=2 --device cpu"
    return Job("bench", f"bench {grid} {size} --out run", "run")


JOBS = {
    job.name: job
    for job in (
        _train("edm", "moons"),
        _train("poisson", "moons"),
        _train("monoflow", "moons", f"{SIZE} --set particles=64 --set stages=4"),
        _train("rectified", "moons"),
        _train("interpolant", "moons"),
        _train("radial", "moons"),
        _train("flowmap", "moons"),
        _train("gan", "moons"),
        _train("blur", "digits"),
        _train("masked", "digits"),
        _train("categorical", "digits"),
        _train("classifier", "digits"),
        _distil(),
        _reflow(),
        _bench(),
        Job(
            "eval", "eval teacher --samples 100 --nfe 4 --device cpu --out run", "run", "", TEACHER
        ),
        Job(
            "sample",
            "sample teacher --n 5000 --nfe 6 --device cpu --out run.npz",
            "run.npz",
            "",
            TEACHER,
        ),
    )
}
