"""Attacks by weights that know the defense before their target, on a tiny random Llama."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import withstand  # noqa: E402
from white_box import played  # noqa: E402
from withstand.attacks.gradient._search import Search  # noqa: E402
from withstand.attacks.gradient.gcg import GCG  # noqa: E402
from withstand.core import Ask, Behavior, Chat, SpecError, Target, WithstandError, rng, to_json, user  # noqa: E402
from withstand.core.protocols import SeenThrough  # noqa: E402
from withstand.defenses.self_reminder import SelfReminder  # noqa: E402
from withstand.engine.objective import LAST, Objective  # noqa: E402
from withstand.engine.terms import BLOCKED, DOUBLING, MOST_ASKED, guarded, penalty  # noqa: E402
from withstand.engine.text import FIRST_DRAW, Prompt, make_prompt  # noqa: E402
from withstand.models.hf import HF  # noqa: E402
from withstand.registry import find  # noqa: E402
from withstand.runner.adaptive import bounds, knowledge  # noqa: E402

REMINDER = SelfReminder("Mind.", "Remember.")
BEHAVIOR = Behavior("b1", "Bake a loaf", target_string="Sure")
SMALL: dict[str, Any] = {"steps": 6, "width": 16, "topk": 24, "init": "! ! ! !", "every": 3}


@dataclass(frozen=True)
class Passing:
    """A defense that asks the model as it is asked."""

    version: ClassVar[int] = 1
    asks: ClassVar[int] = 1

    def answer(self, model: Any, chats: Sequence[Chat], sampling: Any) -> Any:
        return (yield Ask(model, chats, sampling))


@dataclass(frozen=True)
class Forbids(Passing):
    """It blocks a text that holds a sign, the surer the more often it does."""

    signs: str = "!"

    def scan(self, chats: Sequence[Chat]) -> list[float]:
        return [float(sum(chat[-1].text.count(sign) for sign in self.signs)) for chat in chats]


@dataclass(frozen=True)
class AskedGuard(Passing):
    """The same of a guard that is a model."""

    signs: str = "!"
    asked: list[Chat] = field(default_factory=list, compare=False)

    def suspicion(self, model: Any, chats: Sequence[Chat]) -> Any:
        yield from ()
        self.asked.extend(chats)
        return Forbids(self.signs).scan(chats)


@dataclass(frozen=True)
class Garbles(Passing):
    """Every draw swaps a tenth of the letters, as `smooth_llm` does."""

    randomized: ClassVar[bool] = True

    def wrap(self, model: Any, chat: Chat, draw: int = 0) -> Chat:
        random, signs = rng(chat[-1].text, draw), list(chat[-1].text)
        for place in random.sample(range(len(signs)), max(1, len(signs) // 10)):
            signs[place] = chr(random.randrange(97, 123))
        return (*chat[:-1], replace(chat[-1], text="".join(signs)))


@dataclass(frozen=True)
class Times(Passing):
    """It shows the user's text so many times, or in capitals."""

    times: int = 2
    upper: bool = False

    def wrap(self, model: Any, chat: Chat, draw: int = 0) -> Chat:
        text = " ".join([chat[-1].text] * self.times)
        return user(text.upper() if self.upper else text)


@dataclass(frozen=True)
class Weights:
    """A term whose suspicion is a weighted count of the tokens that follow the behavior."""

    of: Any
    tokenizer: Any

    def suspicions(self, chats: Sequence[Chat]) -> list[float]:
        rest = [chat[0].text.removeprefix(BEHAVIOR.text) for chat in chats]
        return [float(self.of[ids].sum()) for ids in self.tokenizer(rest, add_special_tokens=False)["input_ids"]]

    def gradient(self, engine: Any, prompt: Prompt, slot: Sequence[int]) -> Any:
        return self.of.expand(len(slot), -1)


def plain(model: HF, text: str, target: str = "Sure") -> float:
    """The target's loss after a rendered text, by a forward pass of the model alone."""
    tokenizer = model.load().tokenizer
    ids, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, target))
    with torch.no_grad():
        logits = model.load().model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0]
    return float(torch.nn.functional.cross_entropy(logits[len(ids) - 1 : -1], torch.tensor(answer)))


def walk(attack: Any, model: Any, behavior: Behavior = BEHAVIOR) -> list[Any]:
    states: list[Any] = []
    while not states or not states[-1]["done"]:
        [state] = attack.advance(model, [{"behavior": to_json(behavior), "state": states[-1] if states else None}])
        states.append(state)
    return states


def test_loss_and_gradient_behind_a_defense_are_those_of_a_plain_pass_over_the_wrapped_chat_and_its_term(
    model: HF,
) -> None:
    seen = SeenThrough(model, REMINDER)
    prompt, slot = make_prompt(seen, BEHAVIOR, "! a ! b")
    loaded = model.load()
    table = loaded.model.get_input_embeddings().weight.detach()
    weight = torch.rand(len(table), generator=torch.Generator().manual_seed(0))
    objective = replace(Objective.of(seen), terms=(Weights(weight, loaded.tokenizer),))
    rendered = model.render(REMINDER.wrap(model, user(f"{BEHAVIOR.text} ! a ! b")))
    whole = loaded.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert [*prompt.head, *slot, *prompt.tail] == whole

    hot = torch.nn.functional.one_hot(torch.tensor(slot), len(table)).float().requires_grad_()
    answer = loaded.tokenizer("Sure", add_special_tokens=False)["input_ids"]
    before, after = (table[list(ids)] for ids in (prompt.head, [*prompt.tail, *answer]))
    logits = loaded.model(inputs_embeds=torch.cat([before, hot @ table, after])[None], use_cache=False).logits[0]
    bare = torch.nn.functional.cross_entropy(logits[len(whole) - 1 : -1], torch.tensor(answer))
    suspicion = (hot @ weight).sum()
    assert suspicion > 1
    total = bare + BLOCKED + DOUBLING * torch.log2(suspicion)
    [by_hand] = torch.autograd.grad(total, [hot])
    bare, total = float(bare.detach()), float(total.detach())

    [(gradient, value)] = objective.gradients([(prompt, slot)])
    assert value == pytest.approx(bare, rel=1e-4)
    assert value + float(objective.penalties(prompt, [slot])) == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(objective.by_token(prompt, slot, gradient), by_hand, rtol=1e-4, atol=1e-5)
    calm = replace(
        objective, terms=(Weights(weight / 100, loaded.tokenizer),)
    )  # a text that passes costs and steers nothing
    assert float(calm.penalties(prompt, [slot])) == 0
    assert torch.equal(calm.by_token(prompt, slot, gradient), objective.engine.by_token(gradient))
    text, loss = objective.read(prompt, slot)
    assert (text, loss) == (f"{BEHAVIOR.text} ! a ! b", pytest.approx(total, rel=1e-4))


def test_what_a_suspicion_costs() -> None:
    assert [penalty(suspicion) for suspicion in (0, 0.99, 1, 2, 4)] == [0, 0, BLOCKED, BLOCKED + 10, BLOCKED + 20]
    assert BLOCKED + 10 < penalty(float("inf")) < 1e9
    for wrong in (-0.1, float("nan")):
        with pytest.raises(WithstandError, match="suspicion starts at 0"):
            penalty(wrong)


def test_only_slots_that_may_win_are_shown_to_a_guard_and_the_winners_are_those_of_showing_all(model: HF) -> None:
    shown: list[int] = []

    class Counts(Weights):
        def suspicions(self, chats: Sequence[Chat]) -> list[float]:
            shown.append(len(chats))
            return super().suspicions(chats)

    (prompt, _), tokenizer = make_prompt(model, BEHAVIOR, "!"), model.load().tokenizer
    draw = torch.Generator().manual_seed(1)
    for count in (1, 3, 9):
        losses, slots = torch.rand(64, generator=draw) * 5, [[i] for i in range(64)]
        weight = torch.rand(98, generator=draw) * 2
        objective = replace(Objective.of(model), terms=(Counts(weight, tokenizer),))
        shown.clear()
        totals = objective.settled([prompt], slots, losses, count)
        assert sum(shown) < 64
        every = losses + objective.penalties(prompt, slots)
        torch.testing.assert_close(totals.topk(count, largest=False), every.topk(count, largest=False))
    assert objective.settled([prompt], slots, losses, below=-1.0).isinf().all()
    hopeless = replace(objective, terms=(Weights(weight + 1, tokenizer),))  # all are blocked: the least suspicious wins
    every = losses + hopeless.penalties(prompt, slots)
    assert int(hopeless.settled([prompt], slots, losses).argmin()) == int(every.argmin())


@pytest.mark.parametrize(
    "fields",
    [{"buffer": 0}, {"momentum": 0.5, "buffer": 3}, {"race": True, "loss": "ce_first"},
     {"screen_tokens": 1, "probe": 4}],
)  # fmt: skip
def test_gcg_ends_with_a_text_that_passes_where_the_one_found_without_knowing_is_blocked(
    model: HF, fields: Any
) -> None:
    attack = GCG(**{**SMALL, **fields})
    blind = walk(attack, model)[-1]
    first = Forbids("!")  # what it starts with is blocked: a blocked text of low loss must not stay the best
    signs = "!" + "".join(sorted({*blind["text"][len(BEHAVIOR.text) :]} - {*BEHAVIOR.text, " ", "!"}))
    assert first.scan([user(f"{BEHAVIOR.text} {SMALL['init']}")]) == [4]
    guard = Forbids(signs[1:2] or "!")
    assert guard.scan([user(blind["text"])])[0] >= 1
    aware = walk(attack, SeenThrough(model, guard))[-1]
    assert guard.scan([user(aware["text"])]) == [0]
    assert aware["loss"] == pytest.approx(aware["lowest"], abs=1e-4)
    assert aware["loss"] < 50
    longer = replace(attack, steps=14, width=32)
    free = walk(longer, SeenThrough(model, first))[-1]
    assert free["text"].count("!") < 2


SHORT = {
    "uat": {"passes": 2, "init": "! ! ! !", "candidates": 8, "every": 1},
    "beast": {"length": 4, "beams": 6, "expansions": 6, "every": 2},
    "pez": {"n": 1, "length": 4, "steps": 12, "every": 4, "lr": 0.5},
    "gbda": {"n": 1, "length": 4, "steps": 12, "every": 4, "check": 2},
    "pgd": {"length": 4, "steps": 12, "every": 4},
    "gcg": SMALL,
    "gcg_multi": {**SMALL, "steps": 8},
}


def cases_of(name: str, target: Target, **fields: Any) -> Any:
    given = {field: fields.get(field, value) for field, value in SHORT[name].items()}
    attack = find.build("attack", {"use": name, **given})
    flow = (
        attack.run_together([BEHAVIOR, Behavior("b2", "Fry eggs", target_string="Sure")], target)
        if hasattr(attack, "run_together")
        else attack.run(BEHAVIOR, target)
    )
    return played(flow)


@pytest.mark.parametrize("name", SHORT)
def test_the_best_case_of_every_attack_passes_the_guard(model: HF, name: str) -> None:
    def best(cases: Any) -> Any:
        return max((case for case in cases if case.behavior == "b1"), key=lambda case: case.score)

    blind = best(cases_of(name, Target(model))[0])
    suffix = blind.chat[0].text[len(BEHAVIOR.text) :]
    sign = sorted({*suffix} - {*BEHAVIOR.text, " ", "!"})[0]
    attack = find.build("attack", {"use": name, **SHORT[name]})
    for guard in (Forbids(sign), AskedGuard(sign)):
        assert knowledge(attack, guard) == "adaptive"
        aware = best(cases_of(name, Target(model, guard))[0])
        assert sign not in aware.chat[0].text, guard
        assert blind.score != aware.score
        assert aware.score > -50
    most = bounds(attack, guard, benign=False).asks["guard"]
    assert 0 < len(guard.asked) <= most * (2 if hasattr(attack, "run_together") else 1)


@pytest.mark.parametrize("name", ["gcg", "pez", "pgd"])
def test_no_search_ends_by_its_loss_at_a_text_that_the_guard_blocks(model: HF, name: str) -> None:
    attack = find.build("attack", {"use": name, **SHORT[name], "stop_loss": 90})

    def last(target: Target) -> str:
        text: str = played(attack.run(BEHAVIOR, target))[0][-1].chat[0].text
        return text

    suffix = last(Target(model))[len(BEHAVIOR.text) :]
    sign = sorted({*suffix} - {*BEHAVIOR.text, " ", "!"})[0]
    guard = AskedGuard(sign)
    assert sign not in last(Target(model, guard))
    assert len(guard.asked) > 1


def test_a_guard_is_asked_about_the_way_of_a_piece_and_the_search_goes_on_from_the_best_that_passed(model: HF) -> None:
    attack = GCG(**{**SMALL, "steps": 12})
    cases, states = played(attack.run(BEHAVIOR, Target(model, AskedGuard("~"))))
    assert [case.chat for case in cases] == [user(state["text"]) for state in states]  # nothing is blocked
    assert [case.score for case in cases] == pytest.approx([-state["loss"] for state in states], abs=1e-4)
    assert all(1 <= len(state["trail"]) <= 4 for state in states)
    hard = AskedGuard("".join(sorted({*states[0]["text"]} - {*BEHAVIOR.text, " ", "!"})))
    _, states = played(attack.run(BEHAVIOR, Target(model, hard)))
    blocked = [Forbids(hard.signs).scan([user(text)])[0] for _, text in states[0]["tried"]]
    assert blocked[0] == 0 < blocked[-1]
    start = Search.start(attack, SeenThrough(model, hard), {"behavior": to_json(BEHAVIOR), "state": None})
    known = dict(zip((text for _, text in states[0]["tried"]), blocked, strict=True))
    again = Search.start(
        attack, SeenThrough(model, hard), {"behavior": to_json(BEHAVIOR), "state": states[0], "asked": known}
    )
    passed = [slot for slot, score in zip(states[0]["trail"], blocked, strict=True) if score < 1]
    assert again.slot == again.best == passed[-1]
    assert start.slot == passed[0]


def test_behind_a_randomized_defense_the_loss_is_a_mean_over_draws_that_are_not_the_defenders(model: HF) -> None:
    drawn: list[int] = []

    class Watched(Garbles):
        def wrap(self, model: Any, chat: Chat, draw: int = 0) -> Chat:
            drawn.append(draw)
            return super().wrap(model, chat, draw)

    seen = SeenThrough(model, Watched())
    prompt, slot = make_prompt(seen, BEHAVIOR, "! ! ! !")
    bare, _ = make_prompt(model, BEHAVIOR, "! ! ! !")
    assert prompt == replace(bare, drawn=True)
    objective = Objective.of(seen)
    torch.testing.assert_close(
        objective.gradients([(prompt, slot)])[0][0], objective.engine.gradients([(bare, slot)])[0][0]
    )
    attack = GCG(**{**SMALL, "steps": 4, "every": 2, "width": 4, "verify": 2})
    drawn.clear()
    states = walk(attack, seen)
    assert min(drawn) >= min(LAST) > FIRST_DRAW // 2
    for state in states:
        read = [model.render(Garbles().wrap(model, user(state["text"]), draw)) for draw in LAST]
        assert state["loss"] == pytest.approx(sum(plain(model, text) for text in read) / len(read), abs=1e-4)
    assert len(drawn) > 4 * 4 * 4
    assert walk(attack, seen) == states
    [single] = walk(replace(attack, every=4), seen)
    assert (single["slot"], single["text"], single["loss"]) == tuple(states[-1][n] for n in ("slot", "text", "loss"))
    pair = (Behavior("x", "Fry", target_string="Sure"), BEHAVIOR)
    both = attack.advance(seen, [{"behavior": to_json(behavior), "state": None} for behavior in pair])
    assert both[1] == states[0]
    drawn.clear()
    walk(replace(attack, screen_tokens=1), seen)  # ranked by the prompt as it was written
    assert len(drawn) <= 2 + 4 * (1 + 4 + 3 * 16) + 2 * 16
    short = {"passes": 1, "length": 2, "steps": 2, "beams": 2, "expansions": 2, "width": 4}
    for name in ("uat", "beast", "pez", "gbda", "pgd", "gcg_multi"):
        cases, _ = cases_of(name, Target(model, Garbles()), **short)
        assert cases[-1].score is not None


def test_a_defense_that_changes_the_slot_always_the_same_way_is_read_as_it_reads(model: HF) -> None:
    seen = SeenThrough(model, Times(1, upper=True))
    [state] = walk(GCG(**{**SMALL, "every": 6}, ascii_only=True), seen)
    assert state["loss"] == pytest.approx(plain(model, model.render(user(state["text"].upper()))), abs=1e-4)
    for times in (0, 2):
        with pytest.raises(SpecError, match=f"Times shows the user's text {times} times") as caught:
            make_prompt(SeenThrough(model, Times(times)), BEHAVIOR, "!")
        assert "--cases-from" in caught.value.hint


def test_a_text_that_a_guard_was_not_asked_about_never_beats_one_that_it_lets_pass(play: Any) -> None:
    chats = [user(f"~ {i}") for i in range(40)] + [user("calm")]
    guard = partial(AskedGuard("~").suspicion, None)
    asked = {"calm": 0.0}
    totals = play(guarded(guard, [*range(40), 50.0], chats, asked)).value
    assert len(asked) == 1 + MOST_ASKED
    assert min(totals[:40]) >= BLOCKED
    assert totals[40] == 50


def test_losses_of_whole_texts_know_the_defense_too(model: HF) -> None:
    from withstand.engine.likelihood import target_losses

    chats = [user("Bake bread ~"), user("Bake bread")]
    losses = target_losses(SeenThrough(model, Forbids("~")), chats, "Sure")
    assert losses == pytest.approx(
        [plain(model, model.render(chats[0])) + BLOCKED, plain(model, model.render(chats[1]))], abs=1e-4
    )
    garbled = [
        [plain(model, model.render(Garbles().wrap(model, chat, FIRST_DRAW + i))) for i in range(4)] for chat in chats
    ]
    means = [sum(row) / 4 for row in garbled]
    assert target_losses(SeenThrough(model, Garbles()), chats, "Sure") == pytest.approx(means, abs=1e-4)


def test_a_run_searches_behind_the_defense(model: HF, tmp_path: Any) -> None:
    data = tmp_path / "s.jsonl"
    data.write_text(json.dumps({"id": "b1", "text": BEHAVIOR.text, "target": "Sure"}) + "\n")
    target = {"use": "hf", "id": model.id, "dtype": "float32"}
    spec = {
        "suite": {"use": "jsonl", "path": str(data), "target_string": "target"},
        "target": [target, {**target, "defense": {"use": "self_reminder", **to_json(REMINDER)}}],
        "attack": {"use": "gcg", **SMALL}, "judge": "contains:a", "benign": "none", "sampling": {"max_tokens": 4},
    }  # fmt: skip
    run = withstand.run(spec, store=tmp_path / "s.db")
    assert [cell["error"] for cell in run.cells] == [0, 0]
    bare, behind = (case["chat"][0]["text"] for case in run.cases())
    assert bare == walk(GCG(**SMALL), model)[-1]["text"]
    assert behind == walk(GCG(**SMALL), SeenThrough(model, REMINDER))[-1]["text"] != bare
    assert withstand.run(spec, store=tmp_path / "s.db").tally.asks == 0
