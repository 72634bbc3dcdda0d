"""One table, written in four ways: the same cells, and text from outside stays text."""

import csv
import io
from html.parser import HTMLParser

import pytest

from diffode.tables import Table

ODD = '<b> | "a", `b`'
TABLE = Table(
    ["field", "W2"],
    [["real data", "0.29"], [ODD, "1.5"], [ODD, "2.5"]],
    ["seen", "a < b", "again"],
    {(0, 0): "reference", (1, 1): "best"},
    grouped=True,
)


class Cells(HTMLParser):
    """The texts and classes of the cells of a page."""

    def __init__(self):
        super().__init__()
        self.cells, self.classes = [], []

    def handle_starttag(self, tag, attributes):
        if tag in ("td", "th"):
            self.cells.append([])
            self.classes.append(dict(attributes).get("class", ""))

    def handle_data(self, data):
        self.cells[-1].append(data)


def test_html_has_every_cell_names_a_group_once_and_marks_the_best():
    read = Cells()
    read.feed(TABLE.html())
    assert read.cells == [
        ["field"], ["W2"], ["real data", "seen"], ["0.29"], [ODD, "a < b"], ["1.5"], ["again"],
        ["2.5"],
    ]  # fmt: skip
    assert read.classes == ["text", "", "text reference", "", "text", "best", "text", ""]


def test_markdown_has_the_meanings_last_and_no_markup_of_the_cells():
    head, _, *rows = TABLE.markdown().splitlines()
    assert head == "| field | W2 |  |" and rows[0] == "| *real data* | 0.29 | seen |"
    assert rows[1] == '| &lt;b&gt; \\| "a", \\`b\\` | 1.5 | a &lt; b |'


def test_comma_separated_values_come_back():
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [TABLE.head, *TABLE.rows]


def test_aligned_text_begins_each_column_in_one_place():
    lines = Table(["a", "b"], [["long name", "1"], ["x", "22"]]).text().splitlines()
    assert [line.index(v) for line, v in zip(lines, ["b", "1", "22"], strict=True)] == [11] * 3
    assert Table(["", ""], [["x", "y"]]).text() == "x  y"


@pytest.mark.parametrize("table", [Table(["a"], []), Table(["a", "b"], [["", ""]])])
def test_tables_without_content_are_tables(table):
    assert table.html().count("<th") == len(table.head) + 1  # thead
    assert table.markdown().splitlines()[0].count("|") == len(table.head) + 1
    assert table.text().splitlines()[0].split() == list(table.head)
