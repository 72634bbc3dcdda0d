"""Write the lessons as pages with figures, and as notebooks: ``python -m lessons --out DIR``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from lessons.cells import lessons
from lessons.running import LessonError, run


def main(arguments: list[str] | None = None) -> int:
    """Run the lessons that are asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lessons", description=__doc__)
    parser.add_argument("names", nargs="*", help="a number or a name, such as 01; all, if none")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--small", action="store_true", help="little work, as the tests do")
    asked = parser.parse_args(arguments)
    try:
        for path in lessons(asked.names):
            begun = time.process_time()
            done = run(path, asked.out, asked.small)
            seconds = time.process_time() - begun
            print(f"wrote {done.page}, {len(done.figures)} figures, {seconds:.1f} s", flush=True)
    except ValueError as error:
        print(f"python -m lessons: {error}", file=sys.stderr)
        return 2
    except LessonError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
