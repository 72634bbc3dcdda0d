"""What a site needs to work from a file system, and what it does not need there."""

from pathlib import Path


def finish(site: Path) -> None:
    """Put the search's index into a script, which a page may read from a file, as no other data.

    The page for missing addresses and the map of the site need to know where the site is served.
    """
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    (site / "search/search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
    for name in ("404.html", "sitemap.xml", "sitemap.xml.gz"):
        (site / name).unlink(missing_ok=True)
