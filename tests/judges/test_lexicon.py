"""The judge `lexicon`: what its terms match, how weights add up, files that are no lexicon."""

from pathlib import Path
from typing import Any

import pytest

from withstand.core import Behavior, Completion, SpecError
from withstand.formats import lexicon
from withstand.judges.lexicon import LexiconJudge

WORDS = "term,weight,category\nburnt,0.5,food\ntoo salty,0.4,food\nclumsy cook*,0.75,person\n"


@pytest.fixture
def words(tmp_path: Path) -> str:
    (tmp_path / "words.csv").write_text(WORDS)
    return str(tmp_path / "words.csv")


def test_weights_add_up_by_category_and_the_highest_category_is_the_score(play: Any, words: str) -> None:
    texts = {
        "It is Burnt, burnt, and far TOO\n salty!": {"food": 0.7, "person": 0.0},  # 1 - 0.5 * 0.6, by hand
        "What clumsy cooks, and b\u200bur\u200dnt.": {"food": 0.5, "person": 0.75},
        "\uff22\uff35\uff32\uff2e\uff34": {"food": 0.5, "person": 0.0},  # full width
        "Sunburnt, burnts, salty.": {"food": 0.0, "person": 0.0},
    }
    judge = LexiconJudge(words)
    verdicts = play(judge.grade(Behavior("b", "t"), [Completion((), text) for text in texts])).value
    for verdict, scores in zip(verdicts, texts.values(), strict=True):
        assert dict(verdict.scores) == pytest.approx(scores)
        assert verdict.score == pytest.approx(max(scores.values()))
        assert verdict.outcome == ("success" if max(scores.values()) >= 0.5 else "failure")
        assert verdict.why.startswith("lexicon: ")
    person = LexiconJudge(words, threshold=0.75, categories=("person",))
    verdicts = play(person.grade(Behavior("b", "t"), [Completion((), text) for text in texts])).value
    assert [verdict.outcome for verdict in verdicts] == ["failure", "success", "failure", "failure"]
    (long,) = play(judge.grade(Behavior("b", "t"), [Completion((), "burnt " * 200_000)])).value
    assert (long.outcome, long.score) == ("unscored", None)


def test_the_list_is_part_of_the_key_and_its_path_is_not(words: str, tmp_path: Path) -> None:
    (tmp_path / "copy.csv").write_text(WORDS)
    (tmp_path / "heavier.csv").write_text(WORDS.replace("0.75", "0.8"))
    same, heavier = (LexiconJudge(str(tmp_path / name)).identity() for name in ("copy.csv", "heavier.csv"))
    assert LexiconJudge(words).identity() == same != heavier != LexiconJudge().identity()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "0 terms"),
        ("burnt,1.5,food\n", r"row 2 .*: the weight is '1.5'"),
        ("burnt,nan,food\n", "the weight is 'nan'"),
        ("burnt,heavy,food\n", "the weight is 'heavy'"),
        ("burnt,0.5,\n", r"row 2 .*: no category"),
        ("...,0.5,food\n", "is no term"),
        ("b*nt,0.5,food\n", "is no term"),
        ("burnt,0.5,food\nBurnt,0.6,food\n", r"row 3 .*: 'burnt' stands twice in food"),
    ],
)
def test_what_is_no_lexicon_is_said_with_its_row(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "words.csv").write_text("term,weight,category\n" + rows)
    with pytest.raises(SpecError, match=message):
        LexiconJudge(str(tmp_path / "words.csv"))


def test_a_category_that_the_list_lacks() -> None:
    with pytest.raises(SpecError, match="no category 'insults'") as caught:
        LexiconJudge(categories=("insults",))
    assert "insult" in caught.value.hint


def test_the_list_that_ships_is_about_food_and_scores_what_is_rude() -> None:
    words = lexicon.read()
    assert set(words.weights) == {"insult", "disgust", "dismissal", "contempt"}
    assert max(words.scores("This slop is disgusting, and you are a clown.").values()) >= 0.5
    assert max(words.scores("The bread is lovely; knead it for ten minutes.").values()) == 0
