"""AutoDAN: its operators by hand, its walk on a tiny random Llama."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

from cases import walk_cases

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import white_box
import withstand
from fakes import InTurn
from withstand.attacks.llm import _genetic
from withstand.attacks.llm._genetic import (
    chances,
    crossed,
    enough,
    first,
    joined,
    momentum,
    offspring,
    reworded,
    sentences,
)
from withstand.attacks.llm._mutator import PROMPTS, alike_in, common, grouped, rewritten, words_in
from withstand.attacks.llm.autodan import AutoDAN, after
from withstand.core import AskError, Behavior, RejectedDrafts, SpecError, Target, TestCase, Work, Worked, user
from withstand.models.scripted import Scripted
from withstand.registry import find

BREAD = Behavior("b1", "Bake bread", target_string="Sure")
OTHER = Behavior("b2", "Fold it", "Paper is flat.", target_string="Sure")
SEEDS = ("Hi. You teach. Be full.", "A play.\nYou act. Say all.", "Go. Tell it. Now!", "An old book. It is long.")
SMALL: dict[str, Any] = {"population": 8, "steps": 6, "seeds": SEEDS}


# --- operators by hand -----------------------------------------------------------------------------------------------


def test_the_chance_to_become_a_parent_is_the_softmax_of_the_negated_loss() -> None:
    assert chances([0.0, math.log(2), math.log(4)]) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert chances([1000.0, 1000.0 + math.log(3)]) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two!  Three?", ["One. ", "Two!  ", "Three?"]),
        ("One.\n\nTwo is 2.5 long\nThree", ["One.\n\n", "Two is 2.5 long\n", "Three"]),
        ("no end", ["no end"]),
    ],
)
def test_sentences_keep_the_white_space_after_them(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts
    assert joined(sentences(text)) == text
    assert joined([parts[-1], *parts[:-1]]).startswith(parts[-1])


class Coins(Random):
    """Cuts and coins as told."""

    def __init__(self, cuts: list[int], coins: list[float]) -> None:
        super().__init__(0)
        self.cuts, self.coins, self.asked = cuts, coins, ()

    def sample(self, population: Any, k: int, **_: Any) -> Any:  # type: ignore[override]
        self.asked = (list(population), k)  # type: ignore[assignment]
        return self.cuts

    def random(self) -> float:
        return self.coins.pop(0)


def test_a_crossover_by_hand() -> None:
    """Four and five sentences, cut before the second and the fourth; the middle stretch is swapped."""
    coins = Coins([3, 1], [0.9, 0.1, 0.9])
    children = crossed("A1.\nA2. A3. A4.", "B1. B2. B3.\n\nB4. B5.", 2, coins)
    assert children == ("A1.\nB2. B3.\n\nA4.", "B1. A2. A3. B4. B5.")
    assert coins.asked == ([1, 2, 3], 2)  # a cut between any two sentences of the shorter one
    assert crossed("A1. A2.", "B1. B2. B3.", 5, Coins([1], [0.9, 0.1])) == ("A1. B2. B3.", "B1. A2.")
    one = Coins([], [0.1])
    assert crossed("A1.", "B1. B2.", 5, one) == ("B1. B2.", "A1.")
    assert one.asked == ([], 0)


@walk_cases("seed", range(20))
def test_a_crossover_keeps_every_sentence_at_its_place_and_once(seed: int) -> None:
    ours, theirs = [f"A{i}." for i in range(7)], [f"B{i}." for i in range(4)]
    first_, second = (
        [part.strip() for part in sentences(child)]
        for child in crossed(" ".join(ours), "\n".join(theirs), 5, Random(seed))
    )
    for i in range(4):
        assert {first_[i], second[i]} == {f"A{i}.", f"B{i}."}
    assert Counter(first_ + second) == Counter(ours + theirs)


def test_offspring_pairs_neighbors_and_keeps_an_odd_last_one() -> None:
    parents = ["A1. A2.", "B1. B2.", "C1. C2.", "D1. D2.", "E1. E2."]
    assert offspring(parents, 0.0, 5, Random(0)) == parents
    for seed in range(10):
        children = offspring(parents, 1.0, 5, Random(seed))
        assert len(children) == 5
        assert children[4] == "E1. E2."
        assert {word for child in children[:2] for word in child.split()} == {"A1.", "A2.", "B1.", "B2."}
        assert {word for child in children[2:4] for word in child.split()} == {"C1.", "C2.", "D1.", "D2."}


def test_the_first_population_is_the_seeds_and_their_children() -> None:
    assert enough(SEEDS, 3, 5, Random(0)) == list(SEEDS[:3])
    whole = enough(SEEDS, 9, 5, Random(0))
    assert (whole[:4], len(whole)) == (list(SEEDS), 9)
    known = {part.strip() for seed in SEEDS for part in sentences(seed)}
    assert {part.strip() for child in whole for part in sentences(child)} == known
    assert len(enough(SEEDS[:1], 4, 5, Random(0))) == 4


def test_momentum_by_hand() -> None:
    known = {"full": 1, "whole": 1, "long": 1}
    words = momentum({}, {"Full and full.": 2.0, "a whole, full": 4.0, "long-winded": 1.0}, known)
    assert words == {"full": -3.0, "whole": -4.0, "long": -1.0}  # the mean of the texts that hold it, each once
    words = momentum(words, {"FULL": 1.0, "wholesome": 9.0}, known)
    assert words == {"full": (-3.0 - 1.0) / 2, "whole": -4.0, "long": -1.0}


def test_words_turn_into_words_alike_by_how_far_they_are_above_the_lowest() -> None:
    group = ["full", "whole", "entire"]
    like = dict.fromkeys(group, group)
    words = {"full": -3.0, "whole": -1.0, "other": -5.0}  # entire: the lowest of all, -5; weights 2, 4, 0
    texts = [reworded("A Full day,\nfully.", words, like, 1.0, Random(seed)) for seed in range(600)]
    found = Counter(texts)
    assert set(found) == {"A Full day,\nfully.", "A Whole day,\nfully."}
    assert found["A Whole day,\nfully."] / 600 == pytest.approx(4 / 6, abs=0.08)
    half = Counter(reworded("whole", {"full": 0.0, "whole": -1.0}, like, 0.5, Random(seed)) for seed in range(600))
    assert half["full"] / 600 == pytest.approx(0.5, abs=0.08)
    assert reworded("full", {"other": 1.0}, like, 1.0, Random(0)) == "full"  # nothing is known of any of them
    assert reworded("full", {}, like, 1.0, Random(0)) == "full"


# --- the walk --------------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """What a flow did: the prefixes of each piece of work, the chats asked, its cases."""

    pieces: list[list[str]] = field(default_factory=list)
    asks: list[Any] = field(default_factory=list)
    cases: list[TestCase] = field(default_factory=list)
    rejected: list[RejectedDrafts] = field(default_factory=list)


def walk(attack: AutoDAN, model: Any, behavior: Behavior = BREAD) -> Walk:
    done, flow, answer = Walk(), attack.run(behavior, Target(model)), None
    while True:
        try:
            item = flow.send(answer)
        except StopIteration:
            return done
        answer = None
        if isinstance(item, Work):
            done.pieces.append(item.part["prefixes"])
            answer = Worked(item.do(item.model, [item.part])[0])
        elif isinstance(item, TestCase):
            done.cases.append(item)
        elif isinstance(item, RejectedDrafts):
            done.rejected.append(item)
        else:
            done.asks.append(item)
            answer = item.model.generate(item.chats, item.sampling, range(len(item.chats)))


def prefix_of(case: TestCase, behavior: Behavior = BREAD) -> str:
    return case.chat[0].text.removesuffix(f"\n\n{behavior.text}")


@pytest.mark.parametrize("variant", ["ga", "hga"])
def test_the_best_of_each_generation_is_told_and_never_rises(model: Any, variant: Any) -> None:
    mutator: Any = Scripted(reply="long: full")
    done = walk(AutoDAN(**SMALL, variant=variant, mutator=mutator, mutation=0.0), model)
    scores = [case.score for case in done.cases]
    assert len(scores) == 6
    assert scores == sorted(scores)  # elites stay
    for case in done.cases:
        assert -case.score == pytest.approx(white_box.plain_loss(model, case.chat[0].text, BREAD), abs=1e-4)
    assert scores[0] == pytest.approx(
        -min(white_box.plain_loss(model, f"{prefix}\n\nBake bread", BREAD) for prefix in done.pieces[0]), abs=1e-4
    )


def test_only_what_is_new_is_scored_and_elites_are_not_new(model: Any) -> None:
    done = walk(AutoDAN(**SMALL, elites=0.5, crossover=1.0), model)
    assert done.pieces[0][:4] == list(SEEDS)
    for i, piece in enumerate(done.pieces):
        assert len(piece) == len({*piece}) <= (8 if i == 0 else 4)
    assert prefix_of(done.cases[-1]) in {prefix for piece in done.pieces for prefix in piece}


class White(Scripted):
    """A model whose losses the test tells."""

    gives: ClassVar[frozenset[str]] = frozenset({"weights"})


@pytest.mark.parametrize(("elites", "population", "kept"), [(0.1, 64, 6), (0.0, 8, 0), (0.5, 5, 2)])
def test_elites_are_a_share_rounded_down_and_pass_unchanged(elites: float, population: int, kept: int) -> None:
    """Every child is rewritten, and what is rewritten is worse: only the elites can still be the best."""
    mutator: Any = Scripted(reply="New {n}.")
    attack = AutoDAN(elites=elites, population=population, steps=3, mutation=1.0, mutator=mutator, tries=3)
    assert attack.most().asks == {"attacker": 2 * 3 * (population - kept)}
    flow: Any = attack.run(BREAD, Target(White()))
    started = next(flow).part["prefixes"]
    best = flow.send(Worked([float(i) for i in range(len(started), 0, -1)]))
    assert (prefix_of(best), best.score) == (started[-1], -1.0)
    for _ in range(2):
        asked = next(flow)
        assert len(asked.chats) == population - kept
        new = flow.send(mutator.generate(asked.chats, asked.sampling, range(population - kept)))
        assert all(prefix.startswith("New ") for prefix in new.part["prefixes"])
        case = flow.send(Worked([99.0] * len(new.part["prefixes"])))
        assert (case.score, case.chat == best.chat) == ((-1.0, True) if kept else (-99.0, False))
    assert next(flow, None) is None


@pytest.mark.parametrize(("patience", "steps"), [(3, 4), (1, 2)])
def test_it_stops_after_so_many_steps_without_a_new_minimum(model: Any, patience: int, steps: int) -> None:
    attack = AutoDAN(population=4, steps=50, seeds=("Hi.",), patience=patience)  # of one sentence nothing new comes
    done = walk(attack, model)
    assert (len(done.cases), len(done.pieces)) == (steps, 1)


def test_patience_counts_from_the_last_minimum() -> None:
    attack = AutoDAN(population=2, elites=0.0, steps=50, seeds=("A. B. C.", "D. E. F."), patience=2, crossover=1.0)
    flow: Any = attack.run(BREAD, Target(White()))
    item, told, falling = next(flow), [], iter([5.0, 4.0, 4.5, 3.0])
    while item is not None:
        answer = None
        if isinstance(item, Work):
            loss = next(falling, 9.0)
            answer = Worked([loss] * len(item.part["prefixes"]))
        else:
            told.append(-item.score)
        try:
            item = flow.send(answer)
        except StopIteration:
            item = None
    lowest, stale = math.inf, []
    for loss in told:
        stale.append(0 if loss < lowest else stale[-1] + 1)
        lowest = min(lowest, loss)
    assert stale[-1] == 2
    assert 2 not in stale[:-1]


def test_hga_changes_words_in_all_but_the_first_of_its_iterations(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("offspring", "momentum"):
        real = getattr(_genetic, name)
        monkeypatch.setattr(
            f"withstand.attacks.llm.autodan.{name}",
            lambda *given, real=real, name=name: (calls.append(name), real(*given))[1],
        )
    seeds = ("Be wholly full.", "The whole entire play.", "Go on.")
    small: dict[str, Any] = {"population": 4, "seeds": seeds, "mutation": 0.0}
    mutator: Any = Scripted(reply="WHOLE: **entire**, full, all of it.\n- entire: whole")
    hga = AutoDAN(**small, steps=8, variant="hga", iterations=3, patience=99, mutator=mutator)
    done = walk(hga, model)
    assert calls == ["offspring", "momentum", "momentum"] * 2 + ["offspring"]
    known = {"Be", "wholly", "The", "play", "Go", "on", "full", "whole", "entire"}
    assert {word for piece in done.pieces[1:] for prefix in piece for word in _genetic.WORD.findall(prefix)} <= known
    [asked] = done.asks  # once, at the first step that changes words
    assert asked.chats == (user(PROMPTS.ours["words"].replace("{words}", "entire\nfull\nplay\nwhole\nwholly")),)
    assert hga.most().asks == {"attacker": 10 * 2}
    calls.clear()
    walk(AutoDAN(**small, steps=5), model)
    assert calls == ["offspring"] * 4


def test_words_alike_come_from_the_mutator_or_not_at_all(play: Any) -> None:
    with pytest.raises(SpecError, match="hga takes its words from a mutator"):
        AutoDAN(variant="hga")
    assert words_in("Here:\n1. Full: whole, *Entire*, the lot, complete, total\nnone:\n") == {
        "full": "whole entire complete"
    }
    assert words_in("I would rather not.") is None
    group = ["whole", "entire", "full"]
    assert grouped({"whole": "entire full", "other": "x"}, ["whole"]) == {word: group for word in group}  # noqa: C420
    assert common(["Great words, great", "words and more words", "Words"], 2) == ["words", "great"]
    attack = AutoDAN(variant="hga", mutator=Scripted(reply="I'm sorry, but I can't help."), words=1, tries=1)  # type: ignore[arg-type]
    with pytest.raises(AskError, match="no usable answer"):
        play(alike_in(attack, ["whole"]))


def test_the_seed_and_the_behavior_split_the_draws(model: Any) -> None:
    def prefixes(seed: int, behavior: Behavior = BREAD) -> Any:
        return walk(AutoDAN(**SMALL, seed=seed), model, behavior).pieces

    assert prefixes(0) == prefixes(0)
    assert prefixes(0) != prefixes(1)
    assert prefixes(0)[0] != prefixes(0, replace(BREAD, id="b9"))[0]


def test_the_context_comes_first_and_the_marker_before_the_target_string(model: Any) -> None:
    done = walk(AutoDAN(**{**SMALL, "steps": 1}, marker="So: "), model, OTHER)
    [case] = done.cases
    assert case.chat == after(prefix_of(case, OTHER).rpartition("---\n\n")[2], OTHER)
    assert case.chat[0].text.startswith("Paper is flat.\n\n---\n\n")
    marked = replace(OTHER, target_string="So: Sure")
    assert -case.score == pytest.approx(white_box.plain_loss(model, case.chat[0].text, marked), abs=1e-4)


# --- the mutator -----------------------------------------------------------------------------------------------------


def test_a_rewritten_prefix_goes_to_its_own_place(play: Any) -> None:
    attack = AutoDAN(mutator=InTurn(['"New\n\none."', "I'm sorry, but I can't help.", ""]), mutation=1.0, tries=1)  # type: ignore[arg-type]
    played = play(rewritten(attack, ["same", "same", "{same}"], Random(0)))
    assert played.value == ["New\n\none.", "same", "{same}"]
    [asked] = played.asks
    assert asked.chats == tuple(
        user(PROMPTS.ours["rewrite"].replace("{passage}", text)) for text in ("same", "same", "{same}")
    )
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (1400, 1.0)
    assert played.rejected == [RejectedDrafts(1, 1)]


def test_what_was_refused_is_asked_again(play: Any) -> None:
    attack = AutoDAN(mutator=InTurn(["I'm sorry, but I can't help.", "New."]), mutation=1.0, tries=2)  # type: ignore[arg-type]
    assert play(rewritten(attack, ["old"], Random(0))).value == ["New."]


def test_about_a_share_is_rewritten(play: Any) -> None:
    attack = AutoDAN(mutator=Scripted(reply="new"), mutation=0.1)  # type: ignore[arg-type]
    value = play(rewritten(attack, ["old"] * 2000, Random(0))).value
    assert value.count("new") / 2000 == pytest.approx(0.1, abs=0.03)
    assert play(rewritten(replace(attack, mutation=0.0), ["old"], Random(0))).asks == []


def test_a_walk_with_a_mutator_takes_its_prefixes_and_survives_its_refusals(model: Any) -> None:
    kind = replace(AutoDAN(**SMALL, mutation=1.0), mutator=Scripted(reply="A {n}."))  # type: ignore[arg-type]
    done = walk(kind, model)
    assert all(prefix.startswith("A ") for piece in done.pieces[1:] for prefix in piece)
    assert sum(len(item.chats) for item in done.asks) <= kind.most().asks["attacker"]
    refusing = replace(kind, mutator=Scripted(reply="I'm sorry, but I can't help with that."))  # type: ignore[arg-type]
    assert walk(refusing, model).cases[-1].score == walk(replace(kind, mutator=None), model).cases[-1].score


# --- as a component --------------------------------------------------------------------------------------------------


def test_our_seeds_are_as_long_as_those_of_the_paper() -> None:
    seeds = first()
    assert len(seeds) == len({*seeds}) >= 5
    assert all(2500 <= len(seed) <= 4000 for seed in seeds)
    assert all(len(sentences(seed)) > 20 and "\n" in seed for seed in seeds)
    assert all(joined(sentences(seed)) == seed == seed.strip() for seed in seeds)


def test_the_preset() -> None:
    assert find.build("attack", "autodan-harmbench") == AutoDAN()
    assert find.build("attack", {"use": "autodan-harmbench", "mutator": "scripted"}).mutator == Scripted()


@walk_cases(
    "fields",
    [{n: 0} for n in ("steps", "points", "iterations", "patience", "words", "tries", "attacker_tokens")]
    + [{"population": 1}, {"elites": 1.0}, {"elites": -0.1}, {"crossover": 1.1}, {"mutation": -0.1},
       {"temperature": 11.0}, {"seeds": ("a", " ")}, {"prompt": "## rewrite\nAgain."}],
)  # fmt: skip
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        AutoDAN(**fields)
    assert caught.value.hint


def test_what_cannot_be_attacked(model: Any) -> None:
    with pytest.raises(SpecError, match="b has no target string"):
        walk(AutoDAN(), model, Behavior("b", "Bake"))
    with pytest.raises(SpecError, match="needs weights"):
        next(AutoDAN().run(BREAD, Target(Scripted())))
    with pytest.raises(SpecError, match="the window 256"):
        walk(AutoDAN(), model)  # our seeds are too long for it


def test_through_the_runner_and_on_from_where_it_was_cut(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(
        "".join(
            json.dumps({"id": b.id, "text": b.text, "context": b.context, "target": b.target_string}) + "\n"
            for b in (BREAD, OTHER)
        )
    )
    spec = {
        "suite": {"use": "jsonl", "path": str(suite), "context": "context", "target_string": "target"},
        "target": {"use": "hf", "id": model.id, "dtype": "float32"},
        "attack": {"use": "autodan", **SMALL, "mutation": 0.5, "mutator": {"use": "scripted", "reply": "A {n}."}},
        "judge": "contains:a",
        "benign": "none",
        "sampling": {"max_tokens": 4},
    }
    done: list[int] = []
    real, broken = AutoDAN.losses, [False]

    def counted(self: AutoDAN, model: Any, parts: Any) -> Any:
        if broken[0] and sum(done) >= 4:
            raise RuntimeError("the device is gone")
        losses = real(self, model, parts)
        done.append(len(parts))
        return losses

    monkeypatch.setattr(AutoDAN, "losses", counted)
    whole = withstand.run(spec, store=tmp_path / "whole.db")
    pieces = sum(done)
    done.clear()
    broken[0] = True
    assert withstand.run(spec, store=tmp_path / "cut.db").tally.failures
    broken[0] = False
    again = withstand.run(spec, store=tmp_path / "cut.db")
    assert (whole.cells[0]["error"], again.cells[0]["error"]) == (0, 0)
    assert sum(done) == pieces  # none twice
    chats = [{case["behavior"]: case["chat"] for case in run.cases()} for run in (whole, again)]
    assert chats[0] == chats[1]
