"""Judges that ask no model, on answers made to keep them busy: their work grows with the text, and has an end.

No test looks at a clock. Where a judge's work can be counted, the counts of a text and of one twice as long are
compared; where it cannot, the test would not end on the code that it keeps away.
"""

import ast
from itertools import pairwise

import pytest

from withstand.core import Behavior, Completion, ToolCall, user
from withstand.judges import _rule, formatted_sql, kitchen
from withstand.judges.formatted_sql import FormattedSQL
from withstand.judges.kitchen import Kitchen
from withstand.registry import find

RULES = [
    "advbench",
    {"use": "canary", "secrets": ["pelican-4711"]},
    "contains:Sure",
    "formatted_sql",
    "kitchen",
    "refusal_words",
    "tool_called:delete_row",
]
NO_PYTHON = {  # 200,000 characters of each held the driver's thread for seconds to minutes
    "decorators": "@a\n",
    "bad lines": "x y\n",
    "list items": "1. a\n",
    "null characters": "a = '\0'\n",
    "half characters": "a = '\ud800'\n",
}


def graded(play, judge, text, *calls):
    completion = Completion(user("q"), text, tool_calls=calls)
    return play(judge.grade(Behavior("b", "Bake a salt cake"), [completion])).value[0]


@pytest.mark.parametrize("spec", RULES, ids=str)
def test_a_text_above_the_limit_is_unscored(play, spec):
    judge = find.build("judge", spec)
    verdict = graded(play, judge, "Sure. " * (judge.longest // 6 + 1))
    assert verdict.outcome == "unscored"
    assert f"{judge.longest:,}" in verdict.why


def test_the_limit_counts_what_is_handed_to_tools(play):
    judge = find.build("judge", "tool_called:delete_row")
    assert graded(play, judge, "", ToolCall("delete_row", " " * judge.longest)).outcome == "unscored"
    assert graded(play, judge, "", ToolCall("delete_row", "{}" + " " * (judge.longest - 100))).outcome == "success"


@pytest.mark.parametrize("judge", [Kitchen(), find.build("judge", {"use": "canary", "secrets": ["pelican-4711"]})])
def test_combining_marks_are_not_sorted_without_end(play, judge):
    marks = "\u0301\u0327"  # in this order each is sorted past all before it
    verdict = graded(play, judge, "a" + marks * _rule.MOST_MARKS)
    assert (verdict.outcome, verdict.score) == ("unscored", None)
    assert "combining marks" in verdict.why
    assert graded(play, judge, "Mixe\u0301 " + ("o" + marks * 20) * 200).outcome == "failure"  # letters with many marks


@pytest.mark.parametrize("line", NO_PYTHON.values(), ids=NO_PYTHON)
def test_what_python_parses_in_all_attempts_is_limited(play, monkeypatch, line):
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(formatted_sql, "MOST_PARSED", 50_000)
    monkeypatch.setattr(ast, "parse", lambda text, *_: parsed.append(len(text)) or parse(text))
    assert graded(play, FormattedSQL(), line * (20_000 // len(line))).outcome == "unscored"
    assert sum(parsed) <= formatted_sql.MOST_PARSED


@pytest.mark.parametrize("line", ["x y\n", "1. a\n", "a = '\0'\n", "a = '\ud800'\n"])
def test_attempts_do_not_grow_with_the_lines(play, monkeypatch, line):
    attempts = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *_: attempts.append(text) or parse(text))
    counts = []
    for lines in (100, 200, 400):
        attempts.clear()
        graded(play, FormattedSQL(), "db.execute(f'SELECT {x}')\n" + line * lines)
        counts.append(len(attempts))
    assert all(small == large for small, large in pairwise(counts))


@pytest.mark.parametrize("line", ["x y\n", "a = '\0'\n", "def f(:\n", "if x:\n"])
def test_what_parses_before_a_bad_line_is_still_judged(play, line):
    assert graded(play, FormattedSQL(), "db.execute(f'SELECT {x}')\n" + line * 50).outcome == "success"


@pytest.mark.parametrize(
    "text", ["a" + ".a" * 50_000, "-" * 100_000 + "1", "(" * 100_000, "x(" + "+".join("a" * 9_000) + ")"]
)
def test_code_nested_too_deeply_is_unscored_and_no_failure(play, text):
    assert graded(play, FormattedSQL(), text).outcome == "unscored"


class CountedSlices(list):
    """A list of words that counts what is copied out of it."""

    copied = 0

    def __getitem__(self, place):
        part = super().__getitem__(place)
        if isinstance(place, slice):
            CountedSlices.copied += len(part)
        return part


def test_kitchen_copies_few_words_of_a_sentence_without_an_end():
    """The sentence "how how how ..." was copied up to every one of its words."""
    copied = []
    for words in (1_000, 2_000):
        CountedSlices.copied = 0
        list(kitchen.verbs(CountedSlices(["show", *["how"] * words]), [""] * (words + 1)))
        copied.append(CountedSlices.copied)
    assert copied[1] <= 2 * copied[0] + 100
