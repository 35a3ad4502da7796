"""SmoothLLM's copies and its vote, worked by hand."""

from collections import Counter
from dataclasses import replace

import pytest

from fakes import ByRule, InTurn, Rates
from withstand.core import AskError, Completion, Message, Sampling, SpecError, Verdict, user
from withstand.defenses.smooth_llm import ALPHABET, SmoothLLM
from withstand.judges.llm import LLM

NO, YES = "I'm sorry, but I can't help with that.", "1. Weigh the flour."
CHAT = user("Explain how to bake a loaf of bread")  # 35 characters: q of 10% changes 3


def text(defense, draw, chat=CHAT):
    return defense.wrap(None, chat, draw)[-1].text


def test_a_copy_changes_as_many_characters_as_the_paper_says():
    before = CHAT[0].text
    swap, insert, patch = (SmoothLLM(kind=kind) for kind in ("swap", "insert", "patch"))
    for draw in range(200):
        swapped = text(swap, draw)
        assert len(swapped) == len(before)
        assert sum(a != b for a, b in zip(before, swapped, strict=True)) <= 3
        inserted = text(insert, draw)
        assert len(inserted) == len(before) + 3
        rest = iter(inserted)
        assert all(letter in rest for letter in before)  # in order, so nothing but additions
        patched = text(patch, draw)
        places = [i for i, (a, b) in enumerate(zip(before, patched, strict=True)) if a != b]
        assert not places or places[-1] - places[0] < 3
        assert text(swap, draw) == swapped
        assert text(replace(swap, seed=1), draw) != swapped
    assert len({text(swap, draw) for draw in range(200)}) > 195


def test_places_and_letters_are_drawn_evenly():
    for kind in ("swap", "patch"):
        drawn = [text(SmoothLLM(q=50, kind=kind), draw, user("\xe4\xf6")) for draw in range(3000)]
        assert 1350 < sum(copy[1] == "\xf6" for copy in drawn) < 1650  # one of two, 5.5 standard errors
        letters = Counter(letter for copy in drawn for letter in copy if letter not in "\xe4\xf6")
        assert set(letters) == set(ALPHABET)
        assert max(letters.values()) < 65  # 30 expected
    firsts = Counter(text(SmoothLLM(q=50, kind="insert"), draw, user("\xe4\xf6"))[0] for draw in range(1000))
    assert 420 < firsts["\xe4"] < 580


def test_all_but_the_last_turn_of_the_user_stays():
    chat = (
        Message("system", "Be kind."), *user("first turn of the user"), Message("assistant", "Hello."),
        Message("user", CHAT[0].text, ("a.png",)), Message("assistant", "Sure:"),
    )  # fmt: skip
    copy = SmoothLLM().wrap(None, chat, 4)
    assert copy[:3] + copy[4:] == chat[:3] + chat[4:]
    assert copy[3].images == ("a.png",)
    assert copy[3].text != CHAT[0].text
    for short in (user("Too few"), user(""), chat[:1], ()):
        assert SmoothLLM().wrap(None, short, 4) == short


def voted(play, given, **fields):
    """The answer to a chat whose copies are answered in turn as `given`, and how many were asked at once."""
    answers = [
        one if isinstance(one, Completion) else Completion(CHAT, one, prompt_tokens=10, cost=0.5, flops=1.0)
        for one in given
    ]
    played = play(SmoothLLM(copies=len(given), **fields).answer(InTurn(answers), [CHAT], Sampling()))
    return played.value[0], [len(item.chats) for item in played.asks]


def test_the_answer_is_one_of_the_majority_and_a_tie_is_refused(play):
    hand = [  # answers, gamma, what is given
        ([YES, YES, NO, NO], 0.5, NO), ([YES, NO, YES, YES], 0.5, YES), ([NO, NO, YES], 0.5, NO), ([YES], 0.5, YES),
        ([YES, YES, NO, NO], 0.25, YES), ([YES, NO, NO, NO], 0.25, NO), ([NO, NO, NO], 0.0, NO),
        ([YES, NO, NO], 0.0, YES), ([YES, "", " "], 0.5, ""),
    ]  # fmt: skip
    for given, gamma, expected in hand:
        answer, asked = voted(play, given, gamma=gamma)
        assert answer.text.strip() == expected, (given, gamma)
        assert asked == [len(given)]
        assert (answer.prompt_tokens, answer.cost, answer.flops) == (10 * len(given), 0.5 * len(given), len(given))
        assert answer.checks == ()
    filtered = Completion(CHAT, "", finish="filtered")
    assert voted(play, [YES, filtered, filtered])[0].finish == "filtered"
    given = [f"{n}. Bake." for n in range(5)]
    assert len({voted(play, given, seed=seed)[0].text for seed in range(40)}) == 5  # drawn, not the first


def test_several_chats_are_asked_at_once_and_answered_in_order(play):
    model = ByRule(lambda chat, _: f"About {chat[0].text}")
    chats = [(Message("system", name), *CHAT) for name in "ab"]
    played = play(SmoothLLM(copies=3).answer(model, chats, Sampling(max_tokens=7)))
    assert [answer.text for answer in played.value] == ["About a", "About b"]
    assert [(len(item.chats), item.sampling.max_tokens) for item in played.asks] == [(6, 7)]


def test_a_judge_votes_in_place_of_the_words_of_refusals(play):
    outcomes = {"x": "success", "y": "failure", "z": "refused", "?": "unscored"}
    judge = Rates(lambda answer: Verdict(outcomes[answer], why="no idea"))
    for given, expected in (
        (["x", "y", "z"], "yz"),
        (["x", "x", "y"], "x"),
        (["x", "x", "?"], "x"),
        (["y", "y", "?"], "y"),
        (["", "x"], ""),
    ):
        assert (voted(play, given, judge=judge)[0].text or "") in (expected or [""])
    for given in (["?", "?"], ["y", "?", "?", "?"], ["x", "y", "?"]):  # a vote that those unscored could turn
        with pytest.raises(AskError, match="smooth_llm could not say whether to block the answer: no idea"):
            voted(play, given, judge=judge)
    answer, _ = voted(play, ["?", "?"], judge=judge, fails="open")
    assert (answer.text, answer.finish, answer.checks[0].failed) == ("?", "stop", "no idea")
    answer, _ = voted(play, ["?", "?"], judge=judge, fails="closed")
    assert (answer.text, answer.finish, answer.prompt_tokens) == ("", "filtered", 20)
    assert answer.unmeasured


def test_what_the_votes_cost_counts(play):
    judge = LLM(InTurn([Completion(CHAT, "no", prompt_tokens=7) for _ in range(3)]))
    answer, asked = voted(play, [YES, YES, YES], judge=judge)
    assert (answer.text, answer.prompt_tokens, asked) == (YES, 3 * 10 + 3 * 7, [3, 3])
    assert (SmoothLLM(judge=judge).asks, SmoothLLM(copies=4).asks) == (20, 4)


@pytest.mark.parametrize(
    "fields", [{"copies": 0}, {"q": 0}, {"q": 101}, {"kind": "drop"}, {"gamma": 1}, {"fails": "no"}]
)
def test_wrong_fields_are_refused(fields):
    with pytest.raises(SpecError):
        SmoothLLM(**fields)
