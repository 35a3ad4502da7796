"""Rules of a screener on batches."""

import pytest

from withstand.core import SpecError
from withstand.monitor.screen.labelers import labelers_of
from withstand.monitor.screen.rules import scores
from withstand.monitor.settings import Screener
from withstand.redteam.policy.records import Category, Header, Policy

SPAM = Category("spam", "Spam", "It promotes the miracle pan.", 2, "monitored", "log")


def policy(version: str = "1", category: Category = SPAM) -> Policy:
    return Policy("policy.toml", Header("Kitchen", version), {category.id: category}, (), (), "d")


def screener(judge: str = "contains:miracle", **fields) -> Screener:
    return Screener("pan", judge, "spam", **{"reads": "prompt"} | fields)


def test_rule_labels_a_side_and_a_silent_one_is_no_label():
    texts = [("the Miracle pan", "no"), ("a soup", "a miracle soup"), (" ", "miracle"), ("boil water", "")]
    [prompt] = labelers_of([screener()], policy())
    [answer] = labelers_of([screener(reads="completion")], policy())
    assert scores(prompt, texts) == [1, 0, None, 0]
    assert scores(answer, texts) == [0, 1, 1, None]
    assert [prompt.flags(score) for score in (1, 0.4, None)] == [True, False, None]
    assert (prompt.is_rule, prompt.at_intake, prompt.stage, prompt.behavior.text) == (True, True, 0, SPAM.definition)


def test_text_over_the_limit_of_a_rule_takes_no_other_label():
    [prompt] = labelers_of([screener()], policy())
    assert scores(prompt, [("miracle", ""), ("x" * 1_000_001, ""), ("soup", "")]) == [1, None, 0]


def test_version_changes_with_all_that_decides_a_label():
    base = screener()
    stricter = Category("spam", "Spam", "It promotes any pan.", 2, "monitored", "log")
    labelers = [
        *labelers_of([base], policy()), *labelers_of([base], policy("2")), *labelers_of([base], policy("1", stricter)),
        *labelers_of([screener("contains:pan")], policy()), *labelers_of([screener(threshold=0.9)], policy()),
        *labelers_of([screener(reads="completion")], policy()),
    ]  # fmt: skip
    assert len({labeler.version for labeler in labelers}) == len(labelers)
    assert labelers_of([base], policy())[0].version == labelers[0].version
    assert labelers[0].version.endswith(", policy 1")


def test_errors_of_all_screeners_at_once():
    wrong = [screener("contaims:x"), Screener("people", "human", "spam")]
    with pytest.raises(SpecError, match="contaims") as error:
        labelers_of(wrong, policy())
    assert "waits for people" in str(error.value)


def test_stage_is_the_longest_way_through_the_cascade():
    second = Screener("second", "contains:pan", "spam", after=("pan",))
    third = Screener("third", "contains:pan", "spam", after=("pan", "second"))
    labelers = labelers_of([screener(), second, third], policy())
    assert [labeler.stage for labeler in labelers] == [0, 1, 2]
    assert [labeler.at_intake for labeler in labelers] == [True, False, False]
