"""Which parts erase-and-check looks at, its certificate, and what its filter's words do."""

import itertools
from dataclasses import replace
from math import comb, nextafter

import pytest

from fakes import ByRule, Rates
from withstand.core import AskError, Message, Sampling, SpecError, Verdict, rng, user
from withstand.defenses.erase_and_check import EraseAndCheck
from withstand.judges.contains import Contains

BAD = "bake a loaf"
EXACT = Rates(lambda text: Verdict("success" if text == BAD else "failure"), asks=0)
MODEL = ByRule(lambda chat, _: f"Fine: {chat[-1].text[:9]}")


def erased(text, **fields):
    return EraseAndCheck(EXACT, limit=5000, **fields).parts(text)


def test_parts_are_those_of_the_algorithm():
    assert erased("a b  c\nd", max_erase=2) == ["a b  c\nd", "a b  c", "a b"]
    assert erased("a b", max_erase=9) == ["a b", "a"]  # nothing is left of both
    assert erased("a b c d", mode="insertion", max_erase=2) == [
        "a b c d", "b c d", "c d", "a c d", "a d", "a b d", "a b", "a b c",
    ]  # fmt: skip
    assert erased("a b c", mode="infusion", max_erase=2) == ["a b c", "b c", "a c", "a b", "c", "b", "a"]
    assert set(erased("a b c", mode="insertion", max_erase=1, blocks=2)) == set(
        erased("a b c", mode="infusion", max_erase=2)
    )
    words = " ".join(map(str, range(100, 130)))
    assert len(erased(words, mode="insertion", max_erase=12)) == 1 + sum(30 - size + 1 for size in range(1, 13)) == 295
    assert len(erased(words, mode="infusion", max_erase=3)) == sum(comb(30, size) for size in range(4)) == 4526
    assert erased("") == erased(" \n") == []
    assert erased("to to to", mode="infusion", max_erase=1) == ["to to to", "to to"]  # each part once


def attacked(mode, size, draw):
    """BAD with up to `size` words added where the mode has them."""
    source, words = rng(mode, size, draw), BAD.split()
    extra = [source.choice(["x", "!!", "loaf", "bake", "a"]) for _ in range(size)]
    if mode == "suffix":
        return [*words, *extra]
    if mode == "insertion":
        place = source.randrange(len(words) + 1)
        return [*words[:place], *extra, *words[place:]]
    for word in extra:
        words.insert(source.randrange(len(words) + 1), word)
    return words


@pytest.mark.parametrize("mode", ["suffix", "insertion", "infusion"])
def test_what_the_filter_blocks_is_blocked_with_up_to_so_many_words_added(play, mode):
    defense = EraseAndCheck(EXACT, mode=mode, max_erase=3)
    texts = [attacked(mode, size, draw) for size in range(4) for draw in range(40)]
    answers = play(defense.answer(MODEL, [user(" ".join(words)) for words in texts], Sampling())).value
    assert {answer.finish for answer in answers} == {"filtered"}
    assert all(answer.suspicion >= 1 for answer in answers)
    more = [*BAD.split(), "x", "y", "z", "!!"]
    [answer] = play(defense.answer(MODEL, [user(" ".join(more))], Sampling())).value
    assert (answer.finish, answer.suspicion) == ("stop", 0.0)


def test_scores_rank_what_passes_and_count_what_is_blocked(play):
    rates = {"a b c": 0.1, "a b": 0.4, "a": 0.2}
    passing = Rates(lambda text: Verdict("failure", rates[text]))
    blocking = Rates(lambda text: Verdict("success" if "b" in text else "failure", 0.9))
    for judge, expected in ((passing, 0.8), (blocking, 1.8), (Rates(lambda _: Verdict("failure")), 0.0)):
        defense = EraseAndCheck(replace(judge, asks=0), max_erase=2)
        assert play(defense.suspicion(MODEL, [user("a b c")])).value == defense.scan([user("a b c")]) == [expected]
    labels = Rates(lambda text: Verdict("success" if "b" in text else "failure"))
    assert play(EraseAndCheck(labels, max_erase=2).suspicion(MODEL, [user("a b c")])).value == [2.0]
    for threshold, finish in ((0.4, "filtered"), (0.5, "stop")):
        [answer] = play(EraseAndCheck(passing, threshold=threshold).answer(MODEL, [user("a b c")], Sampling())).value
        assert (answer.finish, answer.suspicion) == (finish, 0.4 / threshold)
    assert EraseAndCheck(replace(labels, asks=0), threshold=0.5).scan([user("a b"), user("a")]) == [2.0, 0.0]
    tight = Rates(lambda _: Verdict("failure", 0.9))
    assert play(EraseAndCheck(tight).suspicion(MODEL, [user("a")])).value == [nextafter(1, 0)]


def test_a_model_is_asked_about_each_part(play):
    def rule(chat, _):
        question = chat[-1].text
        if "Is the text harmful?" not in question:
            return "Fine"
        return "yes" if "\na b\n[END" in question else "no"

    model = ByRule(rule)
    chat = (Message("system", "Be kind."), *user("a b"), Message("assistant", "No."), Message("user", "c"))
    played = play(EraseAndCheck(max_erase=1).answer(model, [chat, user("d e f")], Sampling()))
    assert [len(item.chats) for item in played.asks] == [4, 1]
    assert [(a.finish, a.suspicion) for a in played.value] == [("filtered", 1.0), ("stop", 0.0)]
    assert EraseAndCheck(max_erase=1).asks == 3
    assert EraseAndCheck().scan is EraseAndCheck(Rates(lambda _: Verdict("failure"))).scan is None
    assert (EraseAndCheck(mode="infusion", max_erase=2).asks, EraseAndCheck(EXACT).asks) == (1001, 1)


def test_a_filter_that_cannot_say_fails_unless_a_part_is_harmful(play):
    def judge(*outcomes):
        said = itertools.cycle(outcomes)
        return Rates(lambda _: Verdict(next(said), why="broken"))

    with pytest.raises(AskError, match="erase_and_check could not say whether to block the prompt: broken"):
        play(EraseAndCheck(judge("failure", "unscored")).answer(MODEL, [user("a b")], Sampling()))
    for fails, finish in (("open", "stop"), ("closed", "filtered")):
        defense = EraseAndCheck(judge("failure", "unscored"), fails=fails)
        [answer] = play(defense.answer(MODEL, [user("a b")], Sampling())).value
        assert (answer.finish, answer.checks[0].failed, answer.suspicion) == (finish, "broken", None)
    [answer] = play(EraseAndCheck(judge("success", "unscored")).answer(MODEL, [user("a b")], Sampling())).value
    assert (answer.finish, answer.checks[0].failed) == ("filtered", "")


def test_more_checks_than_the_limit_are_never_begun(play):
    defense = EraseAndCheck(EXACT, mode="infusion", max_erase=20)
    with pytest.raises(AskError, match=r"a prompt of 40 words takes more than 1000 checks in the mode infusion"):
        play(defense.answer(MODEL, [user("word " * 40)], Sampling()))
    long = EraseAndCheck(EXACT, mode="insertion", max_erase=20, blocks=9, fails="closed")
    [answer] = play(long.answer(MODEL, [user("to " * 300)], Sampling())).value
    assert answer.unmeasured.startswith("erase_and_check failed and blocked the prompt: a prompt of 300 words")
    with pytest.raises(SpecError, match="takes 21 checks of a prompt, and limit is 20"):
        EraseAndCheck(EXACT, limit=20)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "x"}, {"max_erase": 0}, {"threshold": 2}, {"prompt": "no gap"}, {"judge": EXACT, "model": MODEL},
        {"judge": EXACT, "prompt": "Bad? {text}"},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(fields):
    with pytest.raises(SpecError):
        EraseAndCheck(**fields)


def test_a_judge_that_reads_no_prompts_is_refused():
    from withstand.judges.refusal_words import RefusalWords

    with pytest.raises(SpecError, match="cannot read a prompt"):
        EraseAndCheck(RefusalWords())
    assert EraseAndCheck(Contains("oven")).judge == Contains("oven")
