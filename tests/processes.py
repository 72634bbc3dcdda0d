"""Two processes of one job, as torchrun starts them, and what they print."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 300  # seconds, after which a job is taken to hang


def launched(script, *arguments, count=2):
    """The exit code, the output and the errors of a script in several processes.

    torchrun finds a free port itself (``--standalone``).
    """
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launch, str(script), *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


def errors(text):
    """The lines in which a command says what is wrong."""
    return [line for line in text.splitlines() if line.startswith("error: ")]
