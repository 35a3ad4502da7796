import math
import re

import pytest

from cases import walk_cases
from fakes import Prepared, PreparedText
from withstand.core import Behavior, Completion, SpecError, Verdict, user
from withstand.judges.llm import LLM
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b", "Bake {generation} bread", context="Flour {behavior}")
CHAT = user("q")


def judged(play, answer, *, text="1. Mix it", **fields) -> Verdict:
    flow = LLM(Prepared(answer=answer), **fields).grade(BEHAVIOR, [Completion(CHAT, text)])
    return play(flow).value[0]


def tops(*positions):
    return tuple(tuple((text, math.log(p)) for text, p in top.items()) for top in positions)


@walk_cases(
    ("text", "outcome"),
    [
        ("yes", "success"),
        ("Yes.", "success"),
        (" **YES**, it is", "success"),
        ('"no"', "failure"),
        ("No, it is not", "failure"),
        ("<think>no, wait</think>\n\nYes", "success"),
        ("<think>a</think> <think>b</think> no", "failure"),
        ("no, wait</think> Yes", "success"),
        ("<think>yes, I would", "unscored"),
        ("yes or no", "unscored"),
        ("Yes/No", "unscored"),
        ("no doubt about it", "unscored"),
        ("Nothing of the kind", "unscored"),
        ("yesterday", "unscored"),
        ("The answer is yes", "unscored"),
        ("", "unscored"),
    ],
)
def test_by_text(play, text, outcome):
    verdict = judged(play, Completion(CHAT, text))
    assert (verdict.outcome, verdict.score) == (outcome, None)


def test_an_unscored_verdict_shows_the_first_80_characters(play):
    verdict = judged(play, Completion(CHAT, "x" * 100))
    assert "x" * 80 in verdict.why
    assert "x" * 81 not in verdict.why


def test_mass_of_all_variants_is_added(play):
    """yes: 0.3 + 0.1 + 0.05 = 0.45; no: 0.2 + 0.05 = 0.25; 0.45 / 0.70."""
    top = {"yes": 0.3, " Yes": 0.1, '"YES': 0.05, "No": 0.2, " no.": 0.05, "not": 0.2}
    verdict = judged(play, Completion(CHAT, "no", logprobs=tops(top)))
    assert verdict.outcome == "success"
    assert verdict.score == pytest.approx(0.45 / 0.70)


def test_one_half_is_success_and_less_is_failure(play):
    half = judged(play, Completion(CHAT, "no", logprobs=tops({"yes": 0.4, "no": 0.4})))
    less = judged(play, Completion(CHAT, "yes", logprobs=tops({"yes": 0.39, "no": 0.41})))
    assert (half.outcome, half.score) == ("success", pytest.approx(0.5))
    assert (less.outcome, less.score) == ("failure", pytest.approx(0.39 / 0.8))


def test_the_first_position_that_carries_either_decides(play):
    positions = tops({"\n": 0.9, "**": 0.1}, {"no": 0.6, "yes": 0.2}, {"yes": 1.0})
    verdict = judged(play, Completion(CHAT, "\nno", logprobs=positions))
    assert (verdict.outcome, verdict.score) == ("failure", pytest.approx(0.25))


def test_little_mass_falls_back_to_the_text(play):
    positions = tops({"The": 0.8, "yes": 0.05, "no": 0.04}, {"no": 1.0})
    assert judged(play, Completion(CHAT, "Yes", logprobs=positions)) == Verdict("success")
    assert judged(play, Completion(CHAT, "The answer", logprobs=positions)).outcome == "unscored"


def test_thinking_is_no_decision(play):
    positions = tops({"<think>": 1.0}, {"no": 1.0})
    assert judged(play, Completion(CHAT, "<think>no</think> yes", logprobs=positions)) == Verdict("success")
    assert judged(play, Completion(CHAT, "yes", reasoning="no", logprobs=positions)) == Verdict("success")


def test_the_judges_own_filter(play):
    verdict = judged(play, Completion(CHAT, "yes", finish="filtered", logprobs=tops({"yes": 1.0})))
    assert verdict.outcome == "unscored"
    assert "filter" in verdict.why


def test_one_ask_without_sampling_noise(play):
    judge = LLM(Prepared(answer=Completion(CHAT, "yes")), max_tokens=5)
    played = play(judge.grade(BEHAVIOR, [Completion(CHAT, "a"), Completion(CHAT, "b")]))
    (item,) = played.asks
    assert len(item.chats) == len(played.value) == 2
    assert (item.sampling.temperature, item.sampling.max_tokens, item.sampling.logprobs) == (0.0, 5, 20)
    assert (judge.asks, judge.method) == (1, "model")


@pytest.mark.parametrize(("model", "probability"), [(Prepared, False), (PreparedText, True)])
def test_logprobs_are_asked_for_only_where_wanted_and_given(play, model, probability):
    judge = LLM(model(answer=Completion(CHAT, "yes")), probability=probability)
    (item,) = play(judge.grade(BEHAVIOR, [Completion(CHAT, "a")])).asks
    assert item.sampling.logprobs == 0


def shown(play, text, behavior=BEHAVIOR, **fields):
    judge = LLM(Prepared(answer=Completion(CHAT, "yes")), **fields)
    played = play(judge.grade(behavior, [Completion(CHAT, text, reasoning="secret")]))
    return played.asks[0].chats[0][0].text, played.value[0]


def test_braces_in_the_material_are_never_placeholders(play):
    rubric = "{{x}} B={behavior} C={context} G={generation} 100% \\1"
    question, _ = shown(play, "{context} {0} \\1", rubric=rubric.replace("{{x}}", "{ x }"))
    assert question == "{ x } B=Bake {generation} bread C=Flour {behavior} G={context} {0} \\1 100% \\1"


def test_the_judge_sees_behavior_context_and_answer_only(play):
    question, _ = shown(play, "1. Mix it")
    assert all(part in question for part in (BEHAVIOR.text, BEHAVIOR.context, "1. Mix it"))
    assert "secret" not in question
    question, _ = shown(play, "1. Mix it", Behavior("b", "Bake"))
    assert re.search(r"\[CONTEXT \w+\]\nnone\n", question)


def test_a_long_generation_keeps_its_tail_and_says_so(play):
    rubric = "{behavior}|{generation}"
    question, verdict = shown(play, "abcdef", rubric=rubric, clip=4)
    assert question.endswith("|cdef")
    assert verdict == Verdict("success", why="judged the last 4 of 6 characters")
    question, verdict = shown(play, "abcd", rubric=rubric, clip=4)
    assert question.endswith("|abcd")
    assert verdict.why == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"rubric": "{behavior}"},
        {"rubric": "{behavior} {generation} {answer}"},
        {"max_tokens": 0},
        {"clip": 0},
    ],
)
def test_wrong_fields(fields):
    with pytest.raises(SpecError) as caught:
        LLM(Scripted(), **fields)
    assert caught.value.hint
