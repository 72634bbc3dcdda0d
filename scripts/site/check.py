"""A built site held to its promises: links lead somewhere, and nothing is asked of a network."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The identifiers, links and assets of a page, and whether it has raw formulas."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what a tag leads to and how it is called."""
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.raw |= "arithmatex" in given.get("class", "").split()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "href" in given:
            self.assets.append(given["href"])
        self.assets += [given[name] for name in ("src", "poster", "data") if name in given]


def problems(site: Path) -> list[str]:
    """What is wrong with a site, a line for each thing."""
    files = sorted(site.rglob("*.html"))
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in files}
    found = [
        f"{file.relative_to(site)}: {line}"
        for file, page in pages.items()
        for line in dict.fromkeys(_of_page(file, page, pages))
    ]
    for sheet in sorted(site.rglob("*.css")):
        away = re.findall(r"url\([\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*", sheet.read_text())
        found += [f"{sheet.relative_to(site)}: asks for {address}" for address in away]
    return found


def _of_page(file: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    if page.raw:
        yield "a formula is left as it was written"
    for asset in page.assets:
        if urlsplit(asset).scheme != "data":
            yield from _led(file, page, pages, asset, away="a request to another place")
    for link in page.links:
        if urlsplit(link).scheme not in ("http", "https", "mailto"):
            yield from _led(file, page, pages, link, away="a link of an unknown kind")


def _led(file: Path, page: Page, pages: dict[Path, Page], link: str, away: str) -> Iterator[str]:
    """What is wrong with a link into the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or parts.path.startswith("/"):
        yield f"{away}: {link}"
        return
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():  # a server shows its index, a file system its names
        target = target / "index.html"
    if not target.exists():
        yield f"a dead link: {link}"
    elif parts.fragment and unquote(parts.fragment) not in pages.get(target, page).ids:
        yield f"a dead anchor: {link}"
