"""What stands around the text of a page, in the page's language: a hook of MkDocs."""

import html
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

_SHORT, _LONG = 30, 160  # letters: a description has more, and ends with a sentence
_END = "[.?!](?=\\s|$)|[\u3002\uff1f\uff01]|$"  # of a sentence, in both languages
_COLOURS = {
    "en": ("Light colours", "Dark colours", "Colours of the system"),
    "zh": ("浅色", "深色", "跟随系统"),
}


def on_page_content(content: str, *, page: Page, **_: object) -> None:
    """Describe a page to search engines by its first words that are no formula."""
    for paragraph in re.findall(r"<p>(.*?)</p>", content, re.DOTALL):
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", paragraph)).split())
        if "arithmatex" not in paragraph and len(text) > _SHORT:
            first = re.match(rf".{{1,{_LONG}}}.*?(?:{_END})", text)
            page.meta.setdefault("description", html.escape(first[0] if first else text))
            return


def on_page_context(_: object, *, page: Page, config: MkDocsConfig, **__: object) -> None:
    """Let the labels be in the language of a page."""
    language = "zh" if page.file.src_uri.startswith("zh/") else "en"
    config.theme["language"] = language
    for colours, name in zip(config.theme["palette"], _COLOURS[language], strict=True):
        colours["toggle"]["name"] = name
