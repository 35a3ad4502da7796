"""A table in each of its forms, with texts that would like to act in them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.text import rate
from withstand.report.shell import environment
from withstand.report.table import Column, Table, csv_lines, markdown

COLUMNS = [
    Column("attack"),
    Column("ASR", rate, "95%", right=True),
    Column("note"),
    Column("verdict", mark={"FAIL": "bad"}.get),
    Column("bar", draw=len),
]
ROWS = ["my model", ["story|<b>\u202e", (0.4, [0.22, 0.61]), "", "FAIL", "xxx"], ["direct", (None,), "", "PASS", "x"]]
TABLE = Table(COLUMNS, ROWS, "Rates")


def html(table: Table) -> str:
    return environment().from_string('{% import "table.html.j2" as t %}{{ t.write(table) }}').render(table=table)


def test_as_html() -> None:
    page = html(TABLE)
    assert '<th scope="col" class="right">ASR<span class="by">95%</span></th>' in page
    assert '<th scope="row">story|&lt;b&gt;\u27e8U+202E\u27e9</th><td class="right">40% (22\u201361)</td>' in page
    assert '<td class="bad">FAIL</td><td>3</td>' in page
    assert '<td class="right">n/a</td>' in page
    assert '<th scope="rowgroup" class="group" colspan="4">my model</th>' in page  # the empty column is left out


def test_as_markdown_and_for_a_terminal() -> None:
    assert TABLE.markdown().splitlines() == [
        "| attack | ASR (95%) | verdict |",
        "|---|---:|---|",
        "| my model |  |  |",
        "| story\\|&lt;b>\u27e8U+202E\u27e9 | 40% (22\u201361) | FAIL |",
        "| direct | n/a | PASS |",
    ]
    assert TABLE.heads() == ["attack", "ASR (95%)", "note", "verdict"]
    assert TABLE.texts()[2] == ["direct", "n/a", "", "PASS"]


def test_as_latex() -> None:
    text = TABLE.latex("5% of _x_", "tab:a")
    assert r"\caption{5\% of \_x\_}" in text
    assert r"\begin{tabular}{lrll}" in text
    assert r"\multicolumn{4}{l}{\textit{my model}} \\" in text
    assert r"story\textbar{}\textless{}b\textgreater{}{[}U+202E{]} & 40\% (22--61) &  & FAIL \\" in text


def test_as_csv_no_cell_is_a_formula() -> None:
    text = "".join(csv_lines(["a", "b"], [{"a": "=1+1", "b": -1, "c": 0}, {"a": "\uff1dx", "b": "it's"}]))
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["'=1+1", "-1"], ["'\uff1dx", "it's"]]


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "x\n| y", "![p](http://a.b/c.png)", "&#x202E;", "<img src=x>"])
def test_no_text_ends_a_cell_or_becomes_markup_in_markdown(text: str) -> None:
    shown = markdown(text)
    assert not {"\n", "<"} & set(shown)
    assert "&#" not in shown
    for place, character in enumerate(shown):
        if character in "|[":
            escapes = len(shown[:place]) - len(shown[:place].rstrip("\\"))
            assert escapes % 2 == 1


@given(st.text().filter(str.strip))
def test_a_row_of_markdown_has_as_many_cells_as_columns(text: str) -> None:
    row = Table([Column("a"), Column("b")], [[text, "y"]]).markdown().splitlines()[-1]
    cells, escaped = 0, False
    for character in row:
        cells += character == "|" and not escaped
        escaped = character == "\\" and not escaped
    assert cells == 3
