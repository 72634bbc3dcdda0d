"""Text from outside in pages and in Markdown: names stay names, whatever they hold."""

from __future__ import annotations

import json
import re


def script_json(content: object) -> str:
    """A value as JSON that may stand inside a page's script element."""
    text = json.dumps(content)  # ASCII, so that U+2028 and U+2029 are escaped already
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def words(text: str) -> str:
    """A text as words of one line of Markdown: no markup of its own but emphasis."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`|])", r"\\\1", line).replace("](", "]\\(")
