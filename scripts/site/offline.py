"""What a site needs to work from a file system, and what it does not need there."""

import json
import re
from pathlib import Path

from scripts.site import ROOT


def finish(site: Path) -> None:
    """Put the search's index into a script, which a page may read from a file, as no other data.

    The page for missing addresses and the map of the site need to know where the site is served.
    """
    place = site / "search/search_index.json"
    index, words = json.loads(place.read_text(encoding="utf-8")), chinese_words()
    for entry in index["docs"]:
        entry |= {key: apart(readable(entry[key]), words) for key in ("title", "text")}
    written = json.dumps(index, separators=(",", ":"))
    place.write_text(written, encoding="utf-8")
    (site / "search/search_index.js").write_text(f"var __index = {written}", encoding="utf-8")
    script = site / "assets/worker.js"
    listed = f"chineseWords = {json.dumps(words)}"
    script.write_text(script.read_text(encoding="utf-8").replace("chineseWords = []", listed))
    for name in ("404.html", "sitemap.xml", "sitemap.xml.gz"):
        (site / name).unlink(missing_ok=True)


def chinese_words() -> list[str]:
    """The terms that Chinese pages explain, in bold or at the head of a row; long ones first."""
    texts = [page.read_text(encoding="utf-8") for page in ROOT.glob("docs/zh/**/*.md")]
    explained = re.findall(
        r"\*\*[^*\n]{2,12}\*\*|^\| [^|\n]{2,24} \|", "\n".join(texts), re.MULTILINE
    )
    words = {word for found in explained for word in re.findall("[一-鿿]{2,6}", found)}
    return sorted(words, key=lambda word: (-len(word), word))


def readable(text: str) -> str:
    """A text of the index without its large formulas, and with the small ones in plain letters."""
    text = re.sub(r"\\\[.*?\\\]", " ", text, flags=re.DOTALL)
    small = re.compile(r"\\\((.*?)\\\)", re.DOTALL)
    return small.sub(lambda match: re.sub(r"\\[,;!]|[\\{}]", "", match[1]), text)


def apart(text: str, words: list[str]) -> str:
    """A text with marks of no width around Chinese words, by which the search tells them apart."""
    return re.sub("|".join(words), "\u200b\\g<0>\u200b", text)
