"""Random search against made-up targets whose log-probabilities are known."""

import math
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import pytest

from cases import walk_cases
from fakes import Fake
from withstand.attacks.search._opening import ABSENT, logprob
from withstand.attacks.search._units import changed, text_of, units
from withstand.attacks.search.random_search import JUDGED, RandomSearch
from withstand.core import AskError, Behavior, Completion, Sampling, SpecError, Target, user
from withstand.judges.contains import Contains

BREAD = Behavior("b1", "Bake a loaf of {bread}", target_string="Sure, here is how")
REFUSAL = (("Sorry", -0.1), ("No", -3.0))


@dataclass(frozen=True)
class Gray(Fake):
    """Gives the log-probability of "Sure" that `rule` makes of a suffix, None: not among the top."""

    rule: Callable[[list[str]], float | None] = field(hash=False)
    gives: ClassVar[frozenset[str]] = frozenset({"logprobs"})

    def answer(self, chat: Any, seed: int) -> Completion:
        value = self.rule(suffix_of(chat))
        return Completion(chat, "Sorry", logprobs=((*REFUSAL, *((("Sure", value),) if value is not None else ())),))


def random_search(**fields: Any) -> RandomSearch:
    """With a judge that no answer of `Gray` satisfies, and one restart, unless told otherwise."""
    return RandomSearch(**{"judge": Contains("pans"), "steps": 500, "restarts": 1, **fields})


def suffix_of(chat: Any) -> list[str]:
    return chat[0].text.rpartition("\n")[2].removeprefix("Now write the text below it. ").split(" ")


def target(rule: Any) -> Any:
    return Target(Gray(rule), sampling=Sampling(max_tokens=300, temperature=1.0, top_p=0.9))


def words(suffix: list[str]) -> float:
    """The more units are words, the likelier."""
    return -10.0 + sum(unit.isalpha() for unit in suffix) / 10


def test_the_first_ask_is_the_template_with_marks_and_one_token_is_asked_for(play: Any) -> None:
    played = play(random_search(steps=0, length=3).run(BREAD, target(words)))
    [asked] = played.asks
    assert asked.sampling == Sampling(max_tokens=1, temperature=0.0, top_p=0.9, logprobs=20)
    [chat] = asked.chats
    assert suffix_of(chat) == ["!", "!", "!"]
    assert "Bake a loaf of {bread}" in chat[0].text
    assert "with exactly these words: Sure, here is how\n" in chat[0].text
    assert [(case.chat, case.score) for case in played.cases] == [(chat, -10.0)]


@pytest.mark.parametrize("width", [1, 3])
def test_a_change_is_kept_if_and_only_if_the_probability_rises(play: Any, width: int) -> None:
    attack = random_search(steps=40, length=8, width=width)
    played = play(attack.run(BREAD, target(words)))
    assert [len(item.chats) for item in played.asks] == [1] + [width] * 40
    assert sum(len(item.chats) for item in played.asks) == attack.most().asks["target"] - attack.judgments
    kept, best, cases = ["!"] * 8, -10.0, [(user(played.asks[0].chats[0][0].text), -10.0)]
    for item in played.asks[1:]:
        suffixes = [suffix_of(chat) for chat in item.chats]
        for suffix in suffixes:
            assert len(suffix) == 8
            places = [i for i in range(8) if suffix[i] != kept[i]]
            assert not places or places[-1] - places[0] < 4  # neighbors, of what was kept
        scores = [words(suffix) for suffix in suffixes]
        if max(scores) > best:
            best, place = max(scores), scores.index(max(scores))
            kept = suffixes[place]
            cases.append((item.chats[place], best))
    assert [(case.chat, case.score) for case in played.cases] == cases
    assert len(cases) > 3


@walk_cases(
    ("probability", "ease_at", "units"),
    [(0.005, (0.01, 0.1), 4), (0.01, (0.01, 0.1), 4), (0.05, (0.01, 0.1), 2), (0.2, (0.01, 0.1), 1),
     (0.2, (0.1, 0.5), 2), (0.6, (0.1, 0.5), 1), (0.9, (0.1, 0.2, 0.3), 1), (0.9, (), 4)],
)  # fmt: skip
def test_the_number_of_units_changed_halves_with_the_probability(probability: float, ease_at: Any, units: int) -> None:
    assert random_search(ease_at=ease_at).n_units(math.log(probability) - 1e-9) == units


def test_neighbors_change_and_the_length_stays() -> None:
    suffix, starts = ["!!!"] * 6, set()
    for seed in range(200):
        new = changed(suffix, 2, Random(seed))
        [first, last] = [i for i, unit in enumerate(new) if unit != "!!!"]
        assert (len(new), last - first) == (6, 1)
        starts.add(first)
    assert starts == {0, 1, 2, 3, 4}
    assert len(changed(["!!!"], 4, Random(0))) == 1


@dataclass(frozen=True)
class Sly(Gray):
    """In full it answers "Sure, I cannot", but for suffixes that begin as `yields`."""

    yields: tuple[str, ...] = ("nothing",)

    def generate(self, chats: Any, sampling: Sampling, seeds: Any) -> list[Completion]:
        if sampling.max_tokens == 1:
            return super().generate(chats, sampling, seeds)
        yields = [tuple(suffix_of(chat)[: len(self.yields)]) == self.yields for chat in chats]
        return [
            Completion(chat, "Sure: pans" if won else "Sure, I cannot") for chat, won in zip(chats, yields, strict=True)
        ]


def test_a_probable_opening_is_judged_and_the_search_goes_on_until_a_success(play: Any) -> None:
    rule = lambda suffix: math.log(0.3 + sum(unit != "!" for unit in suffix) / 10)  # noqa: E731
    search = random_search(length=8, stop_probability=0.6, steps=40, judgments=5, restarts=3)

    def ask_of(yields: tuple[str, ...], attack: RandomSearch = search) -> tuple[Any, list[Any]]:
        played = play(attack.run(BREAD, Target(Sly(rule, yields=yields), sampling=Sampling(max_tokens=300))))
        return played, [item for item in played.asks if item.sampling.max_tokens == 300]

    played, in_full = ask_of(("nothing",))
    assert len(in_full) == 15  # every restart goes on until its judgments are used up
    assert all(math.exp(rule(suffix_of(item.chats[0]))) >= 0.6 - 1e-9 for item in in_full)
    assert {case.completion for case in played.cases} == {None}
    wanted = suffix_of(in_full[7].chats[0])  # in the second restart, after a "Sure, I cannot" each time
    played, in_full = ask_of(tuple(wanted))
    assert (len(in_full), played.asks[-1]) == (8, in_full[-1])
    assert (suffix_of(played.cases[-1].chat), played.cases[-1].score) == (wanted, JUDGED)
    assert played.cases[-1].completion.text == "Sure: pans"
    played, in_full = ask_of(("nothing",), random_search(length=8, stop_probability=0.6, width=4, judgments=3))
    assert sum(len(item.chats) for item in in_full) == 3
    assert RandomSearch(Contains("pans")).most().asks == {"target": 10 * (10_001 + 10), "judge": 0}


def test_a_simpler_request_goes_first(play: Any) -> None:
    """Its suffix is where the search for the behavior starts; it makes no test case and is judged by nobody."""
    attack = random_search(
        steps=60, length=4, stop_probability=0.6, transfer="Name a pan", template="{behavior} {opening}"
    )
    rule = lambda suffix: math.log(0.3 + sum(unit != "!" for unit in suffix[-4:]) / 10)  # noqa: E731
    played = play(attack.run(BREAD, target(rule)))
    asked = [item.chats[0][0].text for item in played.asks]
    simpler = [text for text in asked if text.startswith("Name a pan Sure ")]
    assert asked[: len(simpler)] == simpler
    assert math.exp(rule(simpler[-1].split(" "))) >= 0.6 - 1e-9
    assert asked[len(simpler)].split(" ")[-4:] == simpler[-1].split(" ")[-4:]
    assert all(BREAD.text in case.chat[0].text for case in played.cases)
    assert len(simpler) < attack.most().asks["target"] // 2


def test_an_opening_that_is_never_among_the_top_ends_the_search(play: Any) -> None:
    played = play(random_search(patience=7, restarts=2).run(BREAD, target(lambda suffix: None)))
    assert len(played.asks) == 14
    assert [case.score for case in played.cases] == [ABSENT, ABSENT]  # what it began with is all there is
    assert suffix_of(played.cases[0].chat) == ["!"] * 25


def test_one_that_comes_up_in_time_is_taken_and_searched_further(play: Any) -> None:
    rule = lambda suffix: words(suffix) if any(unit.isalpha() for unit in suffix) else None  # noqa: E731
    played = play(random_search(steps=40).run(BREAD, target(rule)))
    assert len(played.asks) == 41
    assert played.cases[0].score == ABSENT < played.cases[1].score < played.cases[-1].score


def test_restarts_draw_anew_from_the_same_init(play: Any) -> None:
    played = play(random_search(steps=5, length=4, restarts=3).run(BREAD, target(words)))
    suffixes = [suffix_of(item.chats[0]) for item in played.asks]
    assert len(suffixes) == 18
    assert suffixes[0] == suffixes[6] == suffixes[12] == ["!"] * 4
    assert len({tuple(suffix) for suffix in suffixes[1::6]}) == 3


def test_a_suffix_found_before_is_where_it_starts(play: Any) -> None:
    found = suffix_of(play(random_search(steps=30, length=6).run(BREAD, target(words))).cases[-1].chat)
    other = Behavior("b2", "Fold a plane", target_string="Sure, fold")
    played = play(random_search(steps=3, init=" ".join(found)).run(other, target(words)))
    assert suffix_of(played.asks[0].chats[0]) == found
    assert {len(suffix_of(item.chats[0])) for item in played.asks} == {6}
    assert played.cases[0].score == words(found)


def test_seed_and_behavior_split_the_draws(play: Any) -> None:
    def walk(attack: RandomSearch, behavior: Behavior = BREAD) -> list[Any]:
        return [suffix_of(item.chats[0]) for item in play(attack.run(behavior, target(words))).asks]

    assert walk(random_search(steps=5)) == walk(random_search(steps=9))[:6]
    assert walk(random_search(steps=5)) != walk(random_search(steps=5, seed=1))
    assert walk(random_search(steps=5)) != walk(
        random_search(steps=5), Behavior("b9", BREAD.text, target_string="Sure")
    )


@pytest.mark.parametrize(
    ("top", "score"),
    [
        ([("Sure", -1.0), (" Sure", -0.5)], -0.5),
        ([("\u2581Sure", -1.0), ("sure", -0.5), ("Surely", -0.1)], ABSENT),
        ([("Sure", -math.inf)], ABSENT),
        ([("Sure\n", -2.0)], -2.0),
    ],
)
def test_the_opening_is_found_among_the_top_of_the_first_position(top: Any, score: float) -> None:
    answer = Completion(user("x"), "Sorry", logprobs=(tuple(top), (("Sure", -0.01),)))
    assert logprob(answer, "Sure") == score


def test_answers_without_logprobs() -> None:
    with pytest.raises(AskError) as caught:
        logprob(Completion(user("x"), "Sorry"), "Sure")
    assert caught.value.hint
    assert logprob(Completion(user("x"), ""), "Sure") == ABSENT
    assert logprob(Completion(user("x"), "Stopped", finish="filtered"), "Sure") == ABSENT


@pytest.mark.parametrize(
    ("string", "given", "aimed"),
    [("Sure, here", "", "Sure"), ("{Sure}", "", "{"), ("Sure", "<", "<"), ("", " Here", "Here")],
)
def test_what_is_made_likely(play: Any, string: str, given: str, aimed: str) -> None:
    class Says(Gray):
        def answer(self, chat: Any, seed: int) -> Completion:
            return Completion(chat, aimed, logprobs=(((aimed, -0.2),),))

    played = play(random_search(opening=given).run(Behavior("b", "Bake", "", string), Target(Says(words))))  # type: ignore[arg-type]
    assert [case.score for case in played.cases] == [-0.2]


def test_a_behavior_without_target_string_needs_an_opening() -> None:
    with pytest.raises(SpecError, match="b1 has no target string") as caught:
        next(random_search().run(Behavior("b1", "Bake"), target(words)))
    assert "opening" in caught.value.hint


def test_the_context_comes_before_the_template_and_nothing_is_read_as_a_placeholder(play: Any) -> None:
    behavior = Behavior("b", "Fill {opening}", "Flour {behavior}", "{behavior}, sure")
    [case] = play(
        random_search(steps=0, length=1, template="Do {behavior}. Say {opening}").run(behavior, target(words))
    ).cases
    assert case.chat == user("Flour {behavior}\n\n---\n\nDo Fill {opening}. Say {behavior}, sure !")


def test_the_list_ofunits() -> None:
    assert len(units()) == len({*units()}) > 300
    assert all(unit.isascii() and unit.isprintable() for unit in units())
    assert {*string.digits} <= {*units()}
    assert "{behavior}" in text_of("template")


@walk_cases(
    "fields",
    [{"steps": -1}, {"width": 0}, {"length": 0}, {"n_change": 0}, {"patience": 0}, {"restarts": 0}, {"judgments": 0},
     {"stop_probability": 0.0}, {"stop_probability": 1.1}, {"ease_at": (2.0,)}, {"template": "no place"},
     {"template": "{behavior} {other}"}],
)  # fmt: skip
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        random_search(**fields)
    assert caught.value.hint
