"""The command line: ``diffode train``, ``sample``, ``fields``, ``solvers``, ``data``, ``tour``.

Bad input ends with one line on standard error and exit code 2; an interrupt
ends with 130, SIGTERM with 143, SIGHUP with 129.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from diffode.cli.app import run

    sys.exit(run(sys.argv[1:]))
