"""AutoDAN-Turbo step by step: warm-up, what is learned from a rise, what is found again, and a library that is kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from click.testing import CliRunner

import withstand
from cases import walk_cases
from fakes import InTurn
from withstand.attacks.llm._agents import Attempt, before, learned, request
from withstand.attacks.llm._library import Strategy, read_library, retrieve, similarity
from withstand.attacks.llm.autodan_turbo import AutoDANTurbo
from withstand.cli.main import cli
from withstand.core import AskError, Behavior, Completion, Flow, Sampling, SpecError, Target, Verdict
from withstand.models.scripted import Scripted
from withstand.registry import find

REFUSAL = "I'm sorry, but I can't help with that."
LOAF = Behavior("loaf", "Bake a loaf {x}")
SOUP = Behavior("soup", "Cook a soup", context="Leeks and water")


def says(answers: list[str]) -> InTurn:
    """A model that gives these answers one after another, the last one forever."""
    return InTurn(answers, frozenset(), repeats=True)


@dataclass(frozen=True)
class Marks:
    """The answer is its own score, from 10% to 100%; success at 100; "?" cannot be scored."""

    version: ClassVar[int] = 1
    method: ClassVar[Literal["string matching", "rule", "model"]] = "rule"
    asks: ClassVar[int] = 1

    def grade(self, behavior: Behavior, completions: Sequence[Completion]) -> Flow[list[Verdict]]:
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text: str) -> Verdict:
        if text == "?":
            return Verdict("unscored")
        return Verdict("success" if text == "100" else "failure", int(text) / 100)


def prompt(text: str) -> str:
    return json.dumps({"prompt": text})


def named(name: str) -> str:
    return json.dumps({"strategy": name, "definition": f"Be {name}."})


def attack(attacker: Any, summarizer: Any = None, **fields: Any) -> AutoDANTurbo:
    fields = {"warmup": 0, "rounds": 1, "steps": 1, "judge": Marks(), **fields}
    return AutoDANTurbo(attacker, summarizer=summarizer or says([named("kind")]), **fields)


def target(*answers: str) -> Target:
    return Target(says(list(answers)), sampling=Sampling(max_tokens=7))  # type: ignore[arg-type]


def entry(strategy: str, rise: float, answer: str, example: str = "e") -> Strategy:
    return Strategy(strategy, f"Be {strategy}.", example, rise, answer)


def strategies(played: Any) -> list[Strategy]:
    """What it learned."""
    return [Strategy(**row) for row in json.loads(played.learned)]


# --- the algorithm -----------------------------------------------------------------------------------------------


def test_warm_up_asks_all_at_once_and_learns_from_the_worst_and_the_best(play: Any) -> None:
    writer, summarizer = says([prompt(f"p{i}") for i in range(6)]), says([named("kind"), named("brief")])
    turbo = attack(writer, summarizer, warmup=3, steps=1, margin=0.25)
    model = target("30", "10", "60", "20", "30", "40", "0")
    played = play(turbo.run_together([SOUP, LOAF], model))
    roles = [(ask.model, len(ask.chats)) for ask in played.asks]
    assert roles == [(writer, 6), (model, 6), (summarizer, 1), (writer, 2), (model, 2)]
    assert [case.score for case in played.cases[:6]] == [0.3, 0.1, 0.6, 0.2, 0.3, 0.4]
    assert [case.behavior for case in played.cases[:6]] == ["loaf"] * 3 + ["soup"] * 3  # by id, whatever the order
    assert strategies(played) == [Strategy("kind", "Be kind.", "p2", 0.5, "10")]  # soup rose by 0.2 only
    asked = played.asks[2].chats[0][0].text
    assert "[FIRST PROMPT]\np1\n" in asked
    assert "[SECOND PROMPT]\np2\n" in asked
    assert "are known already:\nnone" in asked


def test_where_all_warm_up_attempts_are_equal_the_bare_behavior_is_the_worse_one(play: Any) -> None:
    played = play(attack(says([prompt("p")]), warmup=2, margin=0.1).run_together([LOAF], target("40", "40", "0")))
    assert strategies(played) == [Strategy("kind", "Be kind.", "p", 0.4, REFUSAL)]


def test_a_rise_from_one_attempt_to_the_next_is_learned_under_the_answer_before_it(play: Any) -> None:
    writer, summarizer = says([prompt(f"p{i}") for i in range(5)]), says([named("a"), named("b")])
    played = play(attack(writer, summarizer, steps=5).run_together([LOAF], target("0", "20", "20", "10", "50")))
    assert [(s.strategy, s.example, round(s.rise, 6), s.answer) for s in strategies(played)] == [
        ("a", "p1", 0.2, "0"),
        ("b", "p4", 0.4, "10"),
    ]
    known = [ask.chats[0][0].text for ask in played.asks if ask.model == summarizer]
    assert ["- a: Be a." in text for text in known] == [False, True]


def test_the_first_attempt_is_told_no_strategy_and_later_ones_what_worked_at_such_an_answer(play: Any) -> None:
    writer = says([prompt("p")])
    played = play(attack(writer, steps=3).run_together([LOAF], target("0", "60", "0")))
    first, second, third = (ask.chats[0][0].text for ask in played.asks if ask.model == writer)
    assert first == second == request(LOAF)
    assert third == request(LOAF, True, strategies(played))
    assert "kind: Be kind.\nExample: p" in third


def test_success_ends_a_behavior_for_the_round_and_the_next_round_takes_it_up_again(play: Any) -> None:
    model = target("100", "0", "0", "100")
    played = play(attack(says([prompt("p")]), steps=3, rounds=2).run_together([LOAF], model))
    assert [case.score for case in played.cases] == [1.0, 0.0, 0.0, 1.0]
    assert [len(ask.chats) for ask in played.asks if ask.model == model] == [1, 1, 1, 1]


def test_a_batch_goes_side_by_side_and_the_next_batch_knows_what_it_learned(play: Any) -> None:
    four = [replace(LOAF, id=name) for name in "abcd"]
    writer = says([prompt("p")])
    model = target("0", "0", "50", "0", *"0000")
    played = play(attack(writer, steps=2, batch=2).run_together(four, model))
    asks = [ask for ask in played.asks if ask.model == writer]
    assert [len(ask.chats) for ask in asks] == [2, 2, 2, 2]
    assert ["Be kind." in chat[0].text for ask in asks for chat in ask.chats] == [False] * 6 + [True] * 2
    assert sorted(case.behavior for case in played.cases) == ["a", "a", "b", "b", "c", "c", "d", "d"]


def test_rounds_are_shuffled_by_the_seed_and_not_by_the_order_of_the_file(play: Any) -> None:
    many = [replace(LOAF, id=str(i)) for i in range(8)]

    def order(seed: int, behaviors: list[Behavior]) -> list[str]:
        turbo = attack(says([prompt("p")]), batch=1, seed=seed, rounds=2)
        return [case.behavior for case in play(turbo.run_together(behaviors, target("0"))).cases]

    assert order(0, many) == order(0, many[::-1]) != order(1, many)
    assert order(0, many)[:8] != order(0, many)[8:]


def test_at_margin_1_the_library_stays_as_it_is(play: Any) -> None:
    summarizer = says([named("kind")])
    played = play(attack(says([prompt("p")]), summarizer, steps=2, margin=1).run_together([LOAF], target("0", "100")))
    assert (strategies(played), [ask for ask in played.asks if ask.model == summarizer]) == ([], [])


def test_the_context_reaches_target_and_attacker(play: Any) -> None:
    played = play(attack(says([prompt("p {y}")])).run_together([SOUP], target("0")))
    written, sent = (ask.chats[0][0].text for ask in played.asks)
    assert "Leeks and water" in written
    assert sent == "Leeks and water\n\n---\n\np {y}"


def test_asks_are_sampled_as_the_fields_say(play: Any) -> None:
    writer, summarizer, model = says([prompt("p")]), says([named("kind")]), target("50")
    turbo = attack(writer, summarizer, attacker_tokens=9, temperature=0.5, search_tokens=4)
    samplings = [ask.sampling for ask in play(turbo.run_together([LOAF], model)).asks]
    assert samplings == [Sampling(9, 0.5), Sampling(4), Sampling(9, 0.6, top_p=0.9)]
    assert play(replace(turbo, search_tokens=0).run_together([LOAF], model)).asks[1].sampling == Sampling(7)


def test_without_a_summarizer_the_attacker_is_asked(play: Any) -> None:
    writer = says(['{"prompt": "p", "strategy": "kind", "definition": "Be kind."}'])
    turbo = replace(attack(writer), summarizer=None)
    played = play(turbo.run_together([LOAF], target("50")))
    assert [ask.model == writer for ask in played.asks] == [True, False, True]
    assert [s.strategy for s in strategies(played)] == ["kind"]
    assert turbo.most().asks == {"target": 1, "judge": 1, "attacker": 6}


def test_no_more_is_asked_than_most_says(play: Any) -> None:
    writer, summarizer = says([prompt("p")]), says(["no object"])
    turbo = attack(writer, summarizer, warmup=2, rounds=2, steps=3, tries=2)
    model = target(*(str(i) for i in range(10, 26)))
    played = play(turbo.run_together([LOAF, SOUP], model))
    count = {
        role: sum(len(ask.chats) for ask in played.asks if ask.model == each)
        for role, each in (("target", model), ("attacker", writer), ("summarizer", summarizer))
    }
    assert turbo.most().asks == {"target": 8, "judge": 8, "attacker": 16, "summarizer": 14}
    assert count["target"] == 2 * 8
    assert count["attacker"] == 2 * 8
    assert count["summarizer"] <= 2 * 14
    assert turbo.most().cases == 1


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_an_attacker_that_always_refuses_is_an_error_and_no_test_case(play: Any) -> None:
    turbo = attack(says([REFUSAL]), steps=2, tries=2)
    model = target("0")
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(turbo.run_together([LOAF], model))


def test_a_lost_turn_is_skipped_and_the_last_answer_stands(play: Any) -> None:
    writer = says([prompt("p0"), REFUSAL, "no object", prompt("p2")])
    played = play(attack(writer, steps=3, tries=2).run_together([LOAF], target("10", "50")))
    assert [case.score for case in played.cases] == [0.1, 0.5]
    assert [(s.example, s.answer) for s in strategies(played)] == [("p0", REFUSAL), ("p2", "10")]
    assert [sum(getattr(drafts, why) for drafts in played.rejected) for why in ("refused", "malformed")] == [1, 1]


def test_a_stream_that_is_lost_keeps_its_place(play: Any) -> None:
    writer = says([REFUSAL, prompt("for soup")])
    played = play(attack(writer, tries=1, warmup=1, steps=1).run_together([LOAF, SOUP], target("10", "0")))
    assert played.cases[0].behavior == "soup"
    assert "for soup" in played.cases[0].chat[0].text


def test_an_unscored_answer_ranks_lowest_and_teaches_nothing(play: Any) -> None:
    played = play(attack(says([prompt("p")]), steps=3, warmup=1).run_together([LOAF], target("?", "?", "30", "?")))
    assert [case.score for case in played.cases] == [-1.0, -1.0, 0.3, -1.0]
    assert [(s.answer, s.rise) for s in strategies(played)] == [(REFUSAL, 0.3)]


def test_an_empty_answer_scores_0_and_is_not_judged(play: Any) -> None:
    played = play(attack(says([prompt("p")]), steps=2).run_together([LOAF], target(" ", "40")))
    assert [case.score for case in played.cases] == [0.0, 0.4]


@pytest.mark.parametrize("said", [REFUSAL, "no object", '{"strategy": "kind"}', named(REFUSAL)[:20]])
def test_a_summarizer_that_fails_teaches_nothing(play: Any, said: str) -> None:
    played = play(attack(says([prompt("p")]), says([said]), tries=2).run_together([LOAF], target("50")))
    assert strategies(played) == []
    assert len(played.cases) == 1


def test_the_first_definition_of_a_name_stands(play: Any) -> None:
    summarizer = says([named("kind")])
    library = [Strategy("kind", "Be nice.", "e", 0.5, ""), Strategy("kind", "Be rude.", "e", 0.5, "")]
    rises = [(LOAF, before(LOAF), Attempt("p", "50", 0.5))]
    [asked] = play(learned(summarizer, rises, library, 1, 9)).asks  # type: ignore[arg-type]
    assert "- kind: Be nice.\n" in asked.chats[0][0].text
    assert "rude" not in asked.chats[0][0].text


@walk_cases(
    "fields",
    [
        *({name: 0} for name in ("rounds", "steps", "k", "batch", "tries", "attacker_tokens")),
        {"warmup": -1},
        {"search_tokens": -1},
        {"margin": 1.1},
        {"temperature": 11.0},
        {"library": "nowhere.json"},
    ],
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        attack(says([""]), **fields)


# --- the library -------------------------------------------------------------------------------------------------


def test_similarity_by_hand() -> None:
    assert similarity("abcd", "ABCD  ") == pytest.approx(1.0)
    assert similarity("abcd", "bcde") == pytest.approx(1 / 2)  # abc bcd, bcd cde
    assert similarity("abcde", "abc") == pytest.approx(1 / 3**0.5)
    assert similarity("ab", "ab") == pytest.approx(1.0)
    assert similarity("abcd", "wxyz") == similarity("", "") == similarity("", "abc") == 0.0


def test_a_strategy_that_rose_by_more_than_5_ninths_is_given_alone() -> None:
    library = [entry("a", 0.3, "bread"), entry("b", 0.6, "bread"), entry("c", 0.5, "bread")]
    assert retrieve(library, "bread", 5) == (True, [library[1]])


def test_several_that_rose_by_2_ninths_or_more_are_given_together() -> None:
    library = [entry("a", 3 / 9 - 1 / 9, "x"), entry("b", 0.1, "x"), entry("c", 6 / 9 - 1 / 9, "x")]
    assert retrieve(library, "x", 5) == (True, [library[2], library[0]])
    assert retrieve(library[::2], "x", 1) == (True, [library[2]])


def test_where_none_did_those_are_named_to_be_avoided() -> None:
    library = [entry("a", 0.1, "x"), entry("b", 0.2, "x")]
    assert retrieve(library, "x", 5) == (False, [library[1], library[0]])
    assert retrieve([], "x", 5) == (False, [])
    assert "Do none of that" in request(LOAF, False, library)
    assert "Do none of that" not in request(LOAF)


def test_the_2k_nearest_entries_count_with_their_mean_rise_and_best_example() -> None:
    library = [
        entry("far", 1.0, "nothing alike"),
        entry("a", 0.2, "fresh bread", "low"),
        entry("a", 0.6, "fresh breads", "high"),
    ]
    assert retrieve(library, "fresh bread", 1) == (True, [entry("a", 0.4, "fresh breads", "high")])


def test_braces_of_behaviors_prompts_and_strategies_survive(play: Any) -> None:
    library = [Strategy("{behavior}", "{list} }{", "{strategies} \ud83d", 1.0, "")]
    text = request(replace(LOAF, text="Fill {strategies}"), True, library)
    assert "Fill {strategies}\n" in text
    assert "{behavior}: {list} }{\nExample: {strategies} \ud83d" in text


def test_a_library_is_read_from_a_file_and_is_in_the_key(play: Any, tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    path.write_text(json.dumps([asdict(entry("old", 1.0, "10", "an old prompt"))]))
    writer = Scripted(reply=prompt("p"))
    turbo = attack(writer, writer, library=str(path), steps=2, judge=find.build("judge", "contains:Sure"))
    played = play(turbo.run_together([LOAF], target("10")))
    assert "an old prompt" in [ask for ask in played.asks if ask.model == writer][1].chats[0][0].text
    key = find.describe(turbo)
    path.write_text("[]")
    assert find.describe(turbo) != key
    assert read_library("") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "bad JSON"),
        ("{}", "no list"),
        ('[{"strategy": "a"}]', "strategy 1 has other fields"),
        (json.dumps([asdict(entry("a", 0.5, "x")), asdict(entry("b", 2.0, "x"))]), "strategy 2 has rise 2.0"),
        (json.dumps([asdict(entry(" ", 0.5, "x"))]), "strategy 1 lacks a text"),
    ],
)
def test_a_wrong_library_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "library.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=said) as caught:
        read_library(str(path))
    assert caught.value.hint


# --- through the runner ------------------------------------------------------------------------------------------


def test_a_run_cut_at_any_ask_ends_with_the_same_rows(tmp_path: Path) -> None:
    reply = '{"prompt": "Bake {n}", "strategy": "kind {n}", "definition": "Be kind."}'
    turbo = {"use": "autodan_turbo", "attacker": {"use": "scripted", "reply": reply}, "judge": "contains:Sure"}
    rules = [["Bake \\d*[02468]$", "Sure {n}", 1.0]]
    spec = {
        "suite": {"use": "kitchen", "limit": 3},
        "target": {"use": "scripted", "rules": rules, "reply": "No {n}", "width": 2},
        "attack": {**turbo, "warmup": 2, "steps": 2, "batch": 2},
        "judge": "contains:Sure",
        "benign": "none",
    }

    def rows(run: withstand.Run) -> list[Any]:
        return [(case["behavior"], case["chat"], case["completion"], case["outcome"]) for case in run.cases()]

    whole = rows(withstand.run(spec, store=tmp_path / "whole.db"))
    assert len(whole) == 3
    for _ in range(100):
        part = withstand.run(spec, store=tmp_path / "cut.db", max_asks=3)
        if not part.tally.stopped:
            break
    assert rows(part) == whole


@pytest.mark.parametrize("budget", [{}, {"asks": 5}])
def test_what_a_run_learned_is_in_its_store_and_starts_the_next(tmp_path: Path, budget: Any) -> None:
    reply = '{"prompt": "Bake {n}", "strategy": "kind {n}", "definition": "Be kind."}'
    turbo = {"use": "autodan_turbo", "attacker": {"use": "scripted", "reply": reply}, "judge": "contains:Sure"}
    spec = {
        "suite": {"use": "kitchen", "limit": 3},
        "target": {"use": "scripted", "rules": [["Bake \\d*[02468]$", "Sure", 1.0]], "reply": "No"},
        "attack": [{**turbo, "warmup": 2}, "direct"],
        "judge": "contains:Sure",
        "benign": "none",
        "budget": budget,
    }
    first = withstand.run(spec, store=tmp_path / "s.db")
    assert first.learned()
    assert "kind" in first.learned()[0]["strategy"]
    library, said = tmp_path / "library.json", ["report", first.name, "--store", str(tmp_path / "s.db"), "--learned"]
    assert CliRunner().invoke(cli, [*said, "-o", str(library)]).exit_code == 0
    assert json.loads(library.read_text()) == first.learned()
    spec["attack"] = {**turbo, "warmup": 0, "rounds": 1, "margin": 1, "library": str(library)}
    assert withstand.run(spec, store=tmp_path / "s.db").learned() == first.learned()
