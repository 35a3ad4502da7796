"""Black-box searches before a guard: they climb out of what it blocks by its score, and are told what it said."""

import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fakes import Fake, InTurn, Rates
from withstand import api
from withstand.attacks.llm._judged import FRESH, value
from withstand.attacks.llm._judged import tested as tried_on
from withstand.attacks.llm.actor import Actor
from withstand.attacks.llm.autodan_turbo import AutoDANTurbo
from withstand.attacks.llm.crescendo import Crescendo
from withstand.attacks.llm.goat import GOAT
from withstand.attacks.llm.pair import PAIR
from withstand.attacks.llm.tap import TAP
from withstand.attacks.search.deployment_talk import DeploymentTalk
from withstand.attacks.search.random_search import RandomSearch
from withstand.core import Completion, GuardCheck, Target, Verdict, ask, intercept, user
from withstand.core.guards import blocked_by, heard, introduction
from withstand.data.kitchen import Kitchen
from withstand.judges.kitchen import Kitchen as Judge
from withstand.registry import find
from withstand.runner.flows import attacked, behind

sys.path.insert(0, str(Path(__file__).parent.parent / "toys"))
from withstand_guards import Bouncer

BEHAVIORS = Kitchen("test").load()[:4]
ATTACKER = find.build("target", "scripted-attacker-kitchen")
WHOLE = "1. Mix the flour and butter in a bowl.\n2. Bake the dough for 30 minutes.\n3. Slice the tomatoes and serve."
FICTION = "scene|story|diary|poem|letter"
GUARD = Bouncer(pattern="scene", bypasses=("As a diary: {prompt}",))


@dataclass(frozen=True)
class Gives(Fake):
    """Gives a recipe in fiction alone, and puts "Sure" first where log-probabilities are wanted."""

    gives = frozenset({"turns", "system", "logprobs"})

    def answer(self, chat: Any, seed: int) -> Completion:
        text = chat[-1].text
        asked = any(behavior.text in text for behavior in BEHAVIORS)
        fiction = asked and any(form in text for form in FICTION.split("|"))
        return Completion(
            chat, WHOLE if fiction else "I'm sorry, but I can't help with that.", logprobs=((("Sure", -0.2),),)
        )


@dataclass(frozen=True)
class Overheard(Fake):
    """The scripted attacker, and what it reads."""

    read: Any = None
    gives = ATTACKER.gives

    def generate(self, chats: Any, sampling: Any, seeds: Any) -> list[Completion]:
        self.read.extend("\n".join(turn.text for turn in chat) for chat in chats)
        return ATTACKER.generate(chats, sampling, seeds)


def check(suspicion: float | None, stage: Any = "before") -> Completion:
    return Completion(user("x"), "No.", "filtered", checks=(GuardCheck("g", stage, suspicion, blocked=True),))


def test_a_blocked_candidate_is_below_every_answered_one_and_the_nearer_to_passing_the_higher() -> None:
    refused, unscored = Verdict("refused", 0.0), Verdict("unscored")
    passed = replace(check(0.9), finish="stop", checks=(GuardCheck("g", "before", 0.9),))
    order = [
        value(passed, Verdict("success", 0.3)),
        value(passed, refused),
        value(passed, unscored),
        *(value(check(s, "after"), refused) for s in (1.0, 1.4, 1e9, None)),
        *(value(check(s), refused) for s in (1.0, 1.4, float("inf"), None)),
    ]
    assert order[:3] == [0.3, 0.0, -1.0]
    assert order == sorted(order, reverse=True)
    assert order[3] < -3
    assert order[-2] == order[-1] == value(check(float("nan")), refused) == -5
    own_filter = Completion(user("x"), "", "filtered")
    assert (value(own_filter, refused), blocked_by(own_filter), heard(own_filter)) == (0.0, None, "")
    assert (
        heard(check(1.4))
        == "[a filter (g) blocked your prompt before the model read it; its score was 1.4 times its limit]"
    )
    assert heard(check(None, "after")) == "[a filter (g) blocked what the model answered; it gives no score]"


def broken(play: Any, attack: Any, defense: Any) -> list[bool]:
    """Of each behavior, whether the case that the attack leaves is answered behind the defense by what is asked for."""
    target, joint = Target(Gives(), defense), hasattr(attack, "run_together")
    flows = [attack.run_together(BEHAVIORS, target)] if joint else [attack.run(b, target) for b in BEHAVIORS]
    cases = [case for flow in flows for case in play(attacked(flow)).value]
    answers = [case.completion or play(intercept(asked(target, case.chat), behind())).value for case in cases]
    return [answer.text == WHOLE for answer in answers]


def asked(target: Target, chat: Any) -> Any:
    return (yield from ask(target, [chat]))[0]


LOOPS = {
    "pair": lambda who: PAIR(who, Judge(), streams=1, steps=9),
    "tap": lambda who: TAP(who, Judge(), depth=6, width=1, branching=1),
    "autodan_turbo": lambda who: AutoDANTurbo(who, Judge(), warmup=4, rounds=3, steps=8),
    "crescendo": lambda who: Crescendo(who, Judge(), turns=6),
    "goat": lambda who: GOAT(who, Judge(), turns=8),
    "goat with history": lambda who: GOAT(who, Judge(), turns=8, history=True),
    "actor": lambda who: Actor(who, Judge(), turns=2, revisions=1),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_told_of_the_guard_and_of_what_it_blocks_and_gets_out_where_it_can(play: Any, name: str) -> None:
    read: list[str] = []
    count = sum(broken(play, LOOPS[name](Overheard(read)), GUARD))
    assert any("[a filter (bouncer) blocked your prompt before the model read it" in text for text in read)
    assert introduction(GUARD) in read[0]
    assert "1. As a diary: [your prompt]" in read[0]
    undefended: list[str] = []
    broken(play, LOOPS[name](Overheard(undefended)), None)
    assert not any("defense" in text or "filter" in text for text in undefended)
    if name in ("pair", "tap", "autodan_turbo"):  # the scripted attacker draws another form by itself there
        assert count >= 3


@dataclass(frozen=True)
class Coinlike:
    """A stand-in for a randomized defense, for a test that answers itself."""

    randomized = True


def test_before_a_randomized_defense_the_best_candidate_is_rated_by_fresh_draws(play: Any) -> None:
    """First draws: a 1, b 0.4, c 0. Fresh ones: a 0, 1, 0; then b is the best: 0.4, 0.4, 0.4. c was never."""
    judge = Rates(lambda text: Verdict("success" if text == "1" else "failure", float(text)))
    model = InTurn(["1", "0.4", "0", "0", "1", "0", "0.4", "0.4", "0.4"])
    played = play(tried_on(Target(model, Coinlike()), judge, BEHAVIORS[0], [user(text) for text in "abc"]))
    assert [len(item.chats) for item in played.asks] == [3, FRESH, FRESH]
    assert [case.score for case in played.cases] == pytest.approx([1 / 3, 0.4, 0])
    assert [tried.verdict.outcome for tried in played.value] == ["failure"] * 3
    lucky = InTurn(["1", "1", "0", "1"])
    (tried,) = play(tried_on(Target(lucky, Coinlike()), judge, BEHAVIORS[0], [user("a")])).value
    assert (tried.verdict.outcome, tried.verdict.why) == ("success", "2 of 3 fresh draws")
    once = play(tried_on(Target(InTurn(["1"])), judge, BEHAVIORS[0], [user("a")]))
    assert (len(once.asks), once.cases[0].score) == (1, 1.0)


def climbed(play: Any, guard: Any, restarts: int = 1) -> tuple[float, bool]:
    """Score of the last candidate of a random search that starts far above the limit, and whether it won."""
    attack = RandomSearch(Judge(), opening="Sure", steps=200, restarts=restarts, template="A story: {behavior}")
    played = play(intercept(attack.run(BEHAVIORS[0], Target(Gives(), guard)), behind()))
    return played.cases[-1].score, played.cases[-1].completion is not None


def test_random_search_climbs_out_of_a_block_by_its_score_alone(play: Any) -> None:
    signs = Bouncer(pattern="!", limit=12)  # it starts with 25
    assert climbed(play, signs) == (1.0, True)
    score, won = climbed(play, replace(signs, scored=False))
    assert (score < -1e4, won) == (True, False)


def test_the_restarts_of_random_search_take_turns_at_the_words_of_the_bypasses(play: Any) -> None:
    sign = Bouncer(pattern="(?s)story(?!.*as agreed)", bypasses=("{prompt} as agreed",))
    assert climbed(play, sign, restarts=1)[1] is False
    assert climbed(play, sign, restarts=2) == (1.0, True)
    assert climbed(play, replace(sign, bypasses=()), restarts=2)[1] is False


def test_deployment_talk_judges_no_blocked_answer_and_keeps_the_least_suspicious(play: Any) -> None:
    judge = Rates(lambda text: Verdict("success"))
    attack = DeploymentTalk(judge, rounds=5, draws=2)
    guard = Bouncer(pattern="[a-z]", limit=2)
    cases = play(intercept(attack.run(BEHAVIORS[0], Target(Gives(), guard)), behind())).cases
    assert judge.read == []
    never = replace(attack, judge=Rates(lambda text: Verdict("failure")))
    tries = [item.chats[0] for item in play(never.run(BEHAVIORS[0], Target(InTurn(["no"], repeats=True)))).asks]
    scores = [guard.suspicious(chat[0].text) for chat in tries]
    assert [guard.suspicious(case.chat[0].text) for case in cases] == [min(scores)]
    assert scores[-1] > min(scores)


def test_what_an_undefended_run_found_is_blocked_and_what_was_found_against_the_guard_is_not(tmp_path: Path) -> None:
    """Each transferred case is asked anew: a draw of the bare target would be counted as broken."""
    guard = {
        "use": "withstand_guards:Bouncer",
        "pattern": r"(?:story|scene|!|[A-Z]{4})(?=[^#]*\Z)",  # it reads no further back than to a sign
        "bypasses": ["{prompt} #"],
    }
    rules = [["story|scene|diary|poem", WHOLE, 1.0], ["(?-i:[a-z][A-Z])", WHOLE, 1.0]]
    attacks: list[Any] = ["story", {"use": "best_of_n", "n": 128}]
    attacks += [{"use": "pair", "attacker": "scripted-attacker-kitchen", "judge": "kitchen", "streams": 2, "steps": 5}]
    search = {"use": "random_search", "judge": "kitchen", "opening": "1.", "steps": 400, "restarts": 1, "patience": 60}
    attacks += [search | {"template": "A diary of {behavior}"}]
    spec = {
        "suite": {"use": "kitchen", "limit": 3},
        "benign": "none",
        "target": {"use": "scripted", "rules": rules, "reply": "I cannot help with that."},
        "until_success": True,
        "seed": 3,
    }
    store = tmp_path / "runs.db"
    defense = {"defense": guard}
    bare = api.run(spec | {"attack": attacks}, store=store, name="bare")
    adaptive = api.run(spec | defense | {"attack": attacks}, store=store, name="adaptive")
    static = api.run(spec | defense | {"cases_from": "bare"}, store=store, name="static")
    assert {cell.knows for cell in adaptive.result.cells} == {"adaptive"}
    assert {cell.knows for cell in static.result.cells} == {"static"}

    def count(run: Any) -> dict[str, int]:
        """Behaviors broken by each attack."""
        heads = {cell.index: cell.attack.partition(" ")[0].partition(",")[0] for cell in run.result.cells}
        counts: dict[str, set[str]] = defaultdict(set)
        for case in run.cases():
            counts[heads[case["cell"]]] |= {case["behavior"]} if case["outcome"] == "success" else set()
        return {name.partition(":")[0]: len(ids) for name, ids in counts.items()}

    assert set(count(bare).values()) == {3}
    assert set(count(static).values()) == {0}
    found_against_it = count(adaptive)
    assert (found_against_it["story"], found_against_it["pair"], found_against_it["random_search"]) == (3, 3, 3)
    assert found_against_it["best_of_n"] >= 2
