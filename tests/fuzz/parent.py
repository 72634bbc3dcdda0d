"""Cases given to a child one by one; a child that dies or waits is one fault, not the end."""

import json
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.fuzz.child import environment
from tests.fuzz.judge import Outcome

CLOCK = 240.0  # seconds of the clock in which a case has to end, its given files included
ROOT = Path(__file__).parents[2]


class Child:
    """A process that runs cases."""

    def __init__(self, base):
        self.log = Path(base, "log").open("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=environment(base),
        )

    def ask(self, case):
        """The arguments and the outcome of a case."""
        print(case.kind, case.seed, case.number, file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], CLOCK)[0]:
            self.end()
            return [], Outcome(faults={"hang": f"no end within {CLOCK:g} s"})
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.log.seek(0)
            last = (self.log.read().splitlines() or [""])[-1]
            self.end()
            return [], Outcome(faults={"traceback": f"died with code {code}: {last}"})
        told = json.loads(line)
        return told.pop("arguments"), Outcome(**told)

    def end(self):
        """End the process."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with suppress(OSError):
                stream.close()
        self.process.wait()


def outcomes(cases, base):
    """Each case with its arguments and its outcome."""
    child = None
    try:
        for case in cases:
            if child is None or child.process.poll() is not None:
                child = Child(base)
            yield case, *child.ask(case)
    finally:
        if child is not None:
            child.end()
