"""The kinds of cases, and a case made again from its name."""

import importlib
import shlex
from dataclasses import dataclass

from tests.fuzz.dice import Dice

KINDS = {  # and how many of each among so many cases
    "cli": 5,
    "configs": 3,
    "arrays": 4,
    "images": 3,
    "idx": 2,
    "parquet": 2,
    "checkpoints": 4,
    "results": 3,
    "pipelines": 2,
    "pickles": 4,
    "pages": 2,
}


@dataclass(frozen=True)
class Case:
    """One case by its name: the same kind, seed and number are the same case."""

    kind: str
    seed: int
    number: int

    def make(self, place):
        """Write the case's files into the working directory; the arguments of diffode."""
        place.begin()
        dice = Dice(self.kind, self.seed, self.number)
        maker = importlib.import_module(f"tests.fuzz.kinds.{self.kind}").make
        arguments = maker(dice, place)
        place.bring(*arguments)
        return arguments

    def again(self):
        """The command that makes and judges this case alone."""
        return (
            f"python -m tests.fuzz --kind {self.kind} --seed {self.seed} --case {self.number} "
            "--keep case"
        )


def shared_out(count, seed, kinds=None):
    """So many cases of the kinds, each kind its share."""
    chosen = {kind: KINDS[kind] for kind in kinds or KINDS}
    total = sum(chosen.values())
    for kind, weight in chosen.items():
        for number in range(-(-count * weight // total)):
            yield Case(kind, seed, number)


def typed(arguments):
    """A command line as a shell takes it."""
    return shlex.join(["diffode", *arguments]).encode("utf-8", "backslashreplace").decode()
