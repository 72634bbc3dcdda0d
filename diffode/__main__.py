"""``python -m diffode``: the command line, for launchers that take a module."""

from diffode.cli import main

main()
