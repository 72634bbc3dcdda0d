"""A table, described once and written as Markdown, HTML, CSV or aligned text."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diffode.markup import words

_NUMERIC = "0123456789+-."  # how the cells of a column of numbers begin


@dataclass(frozen=True)
class Table:
    """Rows of text below the heads of their columns.

    Attributes:
        head: of each column.
        rows: one text for each column.
        meanings: a line on each row, or none: the last column of Markdown, small print in HTML,
            left out elsewhere.
        marks: "best" or "reference" of cells (row, column): HTML has them as classes, and
            Markdown sets a reference in italics.
        grouped: whether rows that begin alike are a group, which HTML names once.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    meanings: Sequence[str] = ()
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    grouped: bool = False

    def markdown(self) -> str:
        """The table in Markdown; its texts have no markup of their own."""
        head = [*self.head, ""] if self.meanings else [*self.head]
        lines = [head, ["---"] * len(head)]
        for i, row in enumerate(self.rows):
            italic = [self.marks.get((i, j)) == "reference" for j in range(len(row))]
            cells = [f"*{v}*" if k else v for v, k in zip(row, italic, strict=True)]
            lines.append([*cells, *self.meanings[i : i + 1]])
        return "\n".join("| " + " | ".join(map(words, line)) + " |" for line in lines)

    def html(self) -> str:
        """The table in HTML, with the class "text" on columns of words."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.head)
        text = [all(not v or v[0] not in _NUMERIC for v in column) for column in columns]
        heads = "".join(
            _cell("th", html.escape(v), w) for v, w in zip(self.head, text, strict=True)
        )
        body = "".join(self._html_row(i, text) for i in range(len(self.rows)))
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

    def _html_row(self, i: int, text: Sequence[bool]) -> str:
        row = [html.escape(v) for v in self.rows[i]]
        first = self.grouped and (i == 0 or self.rows[i - 1][0] != self.rows[i][0])
        if self.grouped and not first:
            row[0] = ""
        if self.meanings:
            row[0] += f'<div class="meaning">{html.escape(self.meanings[i])}</div>'
        marks = [self.marks.get((i, j), "") for j in range(len(row))]
        cells = "".join(_cell("td", *cell) for cell in zip(row, text, marks, strict=True))
        return f'<tr class="first">{cells}</tr>' if first else f"<tr>{cells}</tr>"

    def csv(self) -> str:
        """The table as comma-separated values."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
        return text.getvalue()

    def text(self) -> str:
        """The table in aligned columns, for a terminal; without a head if all of it is empty."""
        lines = [self.head, *self.rows] if any(self.head) else self.rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _cell(tag: str, content: str, words: bool, mark: str = "") -> str:
    kind = " ".join(filter(None, ("text" if words else "", mark)))
    return f'<{tag} class="{kind}">{content}</{tag}>' if kind else f"<{tag}>{content}</{tag}>"
