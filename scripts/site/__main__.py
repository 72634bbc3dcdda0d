"""Build the site: `python -m scripts.site`, or `make docs`."""

import argparse
import logging
import sys
from pathlib import Path

from scripts.site import ROOT, assemble, check, mathml, offline


def build(work: Path, site: Path, length: str = "full") -> str:
    """Assemble the pages, build the site of them, and check it; what was made, in a line.

    Raises:
        SystemExit: what is wrong with the site, a line for each thing.
    """
    from mkdocs.commands.build import build as build_pages
    from mkdocs.config import load_config

    pages = work / "pages"
    assemble.assemble(pages, work, length)
    log, seen = logging.getLogger("mkdocs"), _Seen(logging.WARNING)
    log.addHandler(seen)
    config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site))
    try:
        build_pages(config)
    finally:  # a build that gives up says why in the same lines
        log.removeHandler(seen)
        _stop(seen.lines)
    formulas, problems = mathml.convert_site(site)
    offline.finish(site)
    _stop([*problems, *check.problems(site)])
    return f"{len(list(site.rglob('*.html')))} pages and {formulas} formulas in {site}"


class _Seen(logging.Handler):
    """Warnings and errors of the build, all of which are mistakes here."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def _stop(problems: list[str]) -> None:
    if problems:
        raise SystemExit("\n".join([*problems, f"the site has {len(problems)} mistakes"]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.site", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="the site's folder")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="what it is made from")
    parser.add_argument(
        "--lessons", choices=("full", "small", "text"), default="full", help="how they are run"
    )
    given = parser.parse_args()
    done = build(given.work.resolve(), given.out.resolve(), given.lessons)
    sys.stdout.write(done + "\n")


if __name__ == "__main__":
    main()
