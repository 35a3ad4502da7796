"""Tables at 60, 80 and 120 columns: nothing is cut, names wrap between words, empty columns are dropped."""

import pytest
from rich.cells import cell_len

from withstand.cli.table import TerminalTable, wrapped

WIDTHS = (60, 80, 120)
HEADS = ["attack", "broken", "ASR (95%)", "any draw", "over-refusal", "unscored", "errors", "asks"]
ROW = ["best_of_n,n=16,batch=4,temperature=1.0", "12 of 20", "60% (39-78)", "", "5% (1-24)", "0", "0", "3,200"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_wide_table_fits_and_loses_nothing(width):
    heads, body = TerminalTable(HEADS, [ROW, ["direct", *ROW[1:]]]).lines(width)
    assert max(map(cell_len, [*heads, *body])) <= width
    text = " ".join(" ".join([*heads, *body]).split())
    for value in ("12 of 20", "60% (39-78)", "5% (1-24)", "3,200", "direct"):
        assert value in text
    assert "any draw" not in text  # the column is empty
    name = "".join(line[: len("best_of_n,n=16,batch=4,temperature=1.0")].split("  ")[0] for line in body[:4])
    assert name.startswith("best_of_n,")


def test_a_table_that_cannot_be_narrowed_is_stacked():
    heads, body = TerminalTable(HEADS, [ROW]).lines(40)
    assert heads == []
    assert body[:3] == [
        "best_of_n,n=16,batch=4,temperature=1.0",
        "  broken        12 of 20",
        "  ASR (95%)     60% (39-78)",
    ]
    assert max(map(cell_len, body)) <= 40


def test_names_wrap_between_their_words():
    assert wrapped("prefix_injection,scenes=none", 12) == ["prefix_", "injection,", "scenes=none"]
    assert wrapped("one two  three", 7) == ["one two", "three"]
    assert wrapped("abcdefgh", 3) == ["abc", "def", "gh"]
    assert wrapped("", 5) == [""]


def test_numbers_are_flushed_right_and_texts_left():
    heads, body = TerminalTable(["name", "asks"], [["a", "1"], ["bcd", "1,000"]]).lines(80)
    assert (heads, body) == (["name   asks"], ["a         1", "bcd   1,000"])


@pytest.fixture
def printed(monkeypatch):
    """Every table that is printed."""
    tables = []
    lines = TerminalTable.lines

    def record(self, width):
        tables.append(self)
        return lines(self, width)

    monkeypatch.setattr(TerminalTable, "lines", record)
    return tables


RUN = ("run", "--suite", "kitchen", "--limit", "4", "--attack", "direct", "--attack", "best_of_n,n=4,batch=2",
       "--target", "scripted-kitchen", "--defense", "none", "--defense", "self_reminder")  # fmt: skip


def test_every_table_of_the_commands_fits(withstand, printed):
    for command in (
        RUN, (*RUN, "--dry-run"), ("runs",), ("compare", "--by", "attack"), ("gate", "--max-asr", "0.5"),
        ("calibrate", "--judge", "kitchen", "--labels", "kitchen", "--by", "category"), ("judge", "probe", "kitchen"),
        ("target", "check", "scripted"), ("sample-size", "--asr", "0.3", "--difference", "0.1"),
    ):  # fmt: skip
        before = len(printed)
        withstand(*command)
        assert len(printed) > before, command
    for table in list(printed):
        for width in WIDTHS:
            heads, body = table.lines(width)
            assert max(map(cell_len, [*heads, *body])) <= width, (table.heads, width)
            assert len(body) >= len(table.rows)
