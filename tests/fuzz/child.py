"""The process in which cases run: a case a line on its standard input, an outcome a line out."""

import functools
import importlib
import json
import os
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout

import torch
import typer.main

from tests.fuzz.cases import Case
from tests.fuzz.judge import judge
from tests.fuzz.sandbox import Place
from tests.fuzz.watch import Watch

_WARM = ("diffode.viz", "scipy.stats", "matplotlib.pyplot", "safetensors.torch")


def prepared():
    """Let this process be as cases need it: one thread, no network, the commands built once."""
    torch.set_num_threads(1)
    tempfile.gettempdir()  # it writes a file to find out
    warnings.simplefilter("ignore")
    typer.main.get_command = functools.cache(typer.main.get_command)
    for name in _WARM:
        importlib.import_module(name)


def environment(base):
    """The environment of this process and of a child."""
    own = {"HF_HUB_OFFLINE": "1", "DIFFODE_DATA": str(base / "work"), "OMP_NUM_THREADS": "1"}
    return os.environ | own


def judged(place, watch, case):
    """The arguments and the outcome of a case."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        arguments = case.make(place)
    return arguments, judge(place, watch, arguments)


def main(base):
    """Run the cases that come in; what the commands print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    prepared()
    place = Place(base)
    watch = Watch(place)
    for line in sys.stdin:
        kind, seed, number = line.split()
        arguments, outcome = judged(place, watch, Case(kind, int(seed), int(number)))
        told = {"arguments": arguments, **outcome.content()}
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
