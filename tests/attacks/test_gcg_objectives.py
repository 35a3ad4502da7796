"""Objectives and screens of GCG beyond the target string's loss, on tiny random Llamas of one tokenizer."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import numpy as np  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

import tiny  # noqa: E402
from fakes import Rates  # noqa: E402
from withstand.attacks.gradient._agreement import rank_correlation  # noqa: E402
from withstand.attacks.gradient._reinforce import WON, weights  # noqa: E402
from withstand.attacks.gradient._screen import scored  # noqa: E402
from withstand.attacks.gradient._search import Search  # noqa: E402
from withstand.attacks.gradient.gcg import GCG  # noqa: E402
from withstand.core import (  # noqa: E402
    Ask,
    Behavior,
    Completion,
    SpecError,
    Target,
    TestCase,
    Verdict,
    Work,
    Worked,
    to_json,
)  # fmt: skip
from withstand.engine.engine import engine_of  # noqa: E402
from withstand.engine.text import make_prompt  # noqa: E402
from withstand.models.hf import HF  # noqa: E402

BEHAVIOR = Behavior("b1", "Bake a loaf of bread", target_string="Sure, here")
SMALL: dict[str, Any] = {"steps": 4, "width": 24, "topk": 16, "init": "! ! ! !", "every": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HF:
    return HF(str(tiny.save(tmp_path_factory.mktemp("tiny"))), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> HF:
    return HF(str(tiny.save(tmp_path_factory.mktemp("draft"), seed=1)), dtype="float32", device="cpu")


def plain(model: HF, ids: Sequence[int]) -> Any:
    """Float["tokens vocabulary"]: log-probabilities by a forward pass of the model alone."""
    with torch.no_grad():
        return torch.log_softmax(model.load().model(input_ids=torch.tensor([list(ids)])).logits[0], -1)


def start(attack: GCG, model: HF, behavior: Behavior = BEHAVIOR, **part: Any) -> Search:
    return Search.start(attack, model, {"behavior": to_json(behavior), "state": None, **part})


def tried(search: Search, count: int = 24) -> list[list[int]]:
    """So many random slots of one changed token each."""
    draw = np.random.default_rng(0)
    slots = []
    for _ in range(count):
        slot = list(search.slot)
        slot[draw.integers(len(slot))] = int(draw.integers(4, 90))
        slots.append(slot)
    return slots


# --- entropy -----------------------------------------------------------------------------------------------------


def test_entropy_is_of_the_first_token_and_needs_no_target_string(model: HF) -> None:
    """log V - H, by hand for three tokens of 1/2, 1/4, 1/4: H is 1.5 log 2; and of the model by a plain pass."""
    from withstand.engine.engine import reduced

    logits = torch.tensor([[0.5, 0.25, 0.25]]).log() + 7
    assert reduced(logits, [[0]], "entropy").tolist() == pytest.approx([math.log(3) - 1.5 * math.log(2)], abs=1e-5)
    attack = GCG(**SMALL, loss="entropy")
    search = start(attack, model, replace(BEHAVIOR, target_string=""))
    slots = tried(search)
    [losses] = search.objective.engine.losses([(search.prompt, search.slot, slots)], "entropy")
    for slot, loss in zip(slots, losses.tolist(), strict=True):
        logs = plain(model, [*search.prompt.head, *slot, *search.prompt.tail])[-1]
        assert loss == pytest.approx(math.log(len(logs)) + float((logs.exp() * logs).sum()), abs=1e-4)
    [(gradient, value)] = search.objective.engine.gradients([(search.prompt, search.slot)], "entropy")
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    [state] = attack.advance(model, [{"behavior": to_json(replace(BEHAVIOR, target_string="")), "state": None}])
    assert state["loss"] < value
    other = start(attack, model)  # with a target string: the same place, and no word of it is read
    assert other.objective.engine.losses([(other.prompt, other.slot, slots)], "entropy")[0].tolist() == losses.tolist()
    with pytest.raises(SpecError, match="one token"):
        GCG(**SMALL, loss="entropy", screen_tokens=2)


def test_entropy_after_a_closed_thought_is_of_the_token_after_it(model: HF, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HF, "closing", lambda self, rendered: "</t>")
    prompt, slot = make_prompt(model, BEHAVIOR, "! !", first_only=True)
    closing = model.load().tokenizer("</t>", add_special_tokens=False)["input_ids"]
    assert prompt.target[:-1] == tuple(closing)
    logs = plain(model, [*prompt.head, *slot, *prompt.tail, *closing])[-1]
    [loss] = engine_of(model).losses([(prompt, slot, [slot])], "entropy")[0].tolist()
    assert loss == pytest.approx(math.log(len(logs)) + float((logs.exp() * logs).sum()), abs=1e-4)


# --- reinforce ---------------------------------------------------------------------------------------------------


def test_reinforce_weighs_each_answer_by_its_reward_less_the_mean_of_the_others() -> None:
    """Rewards 1, 0 and 0.5 beside the fixed 0.1 of no answer, K = 4: (1 - 0.6/3)/4, (0 - 1.6/3)/4, (0.5 - 1.1/3)/4."""
    assert weights([1.0, 0.0, 0.5]) == pytest.approx([0.2, -0.4 / 3, 0.1 / 3])


def test_the_loss_of_reinforce_is_its_equation_by_a_plain_pass(model: HF) -> None:
    """L = - sum of w_i log P(y_i | x), its values, its gradient and its choice of the best candidate."""
    answers = [["Sure", 0.4], ["I cannot do that", -0.3], ["Hm", 0.1]]
    attack = GCG(**SMALL, loss="reinforce", judge=Rates(lambda text: Verdict("failure")))
    search = start(attack, model, answers=answers)
    slots, tokenizer = tried(search, 8), model.load().tokenizer

    def equation(slot: Sequence[int]) -> float:
        total, prompt = 0.0, [*search.prompt.head, *slot, *search.prompt.tail]
        for text, weight in answers:
            answer = tokenizer(text, add_special_tokens=False)["input_ids"]
            logs = plain(model, [*prompt, *answer])[len(prompt) - 1 : -1]
            total -= weight * sum(float(row[token]) for row, token in zip(logs, answer, strict=True))
        return total

    [losses] = search.objective.engine.losses([(search.prompt, search.slot, slots)], "reinforce")
    assert losses.tolist() == pytest.approx([equation(slot) for slot in slots], abs=2e-4)
    [(gradient, value)] = search.objective.engine.gradients([(search.prompt, search.slot)], "reinforce")
    assert value == pytest.approx(equation(search.slot), abs=2e-4)
    weighed = [
        weight
        * search.objective.engine.gradients([(replace(search.prompt, target=ids, answers=()), search.slot)], "nll")[0][
            0
        ]
        for ids, weight in search.prompt.answers
    ]
    assert torch.allclose(gradient, sum(weighed), atol=1e-4)
    [state] = attack.advance(model, [{"behavior": to_json(BEHAVIOR), "state": None, "answers": answers}])
    assert state["lowest"] == pytest.approx(equation(state["best"]), abs=2e-4)
    assert state["lowest"] < value
    [later] = attack.advance(model, [{"behavior": to_json(BEHAVIOR), "state": state, "answers": [["Ok", 1.0]]}])
    assert later["lowest"] > 0  # of the new answers alone: the earlier loss was of others


def test_reinforce_draws_judges_and_ends_at_its_first_success(model: HF) -> None:
    """The third round's sampled answer succeeds; until then the parts of work hold the weights of what was said."""
    said = iter([["no", "never", ], ["no", "maybe"], ["no", "soup"]])  # fmt: skip

    def verdict(text: str) -> Verdict:
        return Verdict("success" if text == "soup" else "failure", {"maybe": 0.6}.get(text, 0.0))

    judge = Rates(verdict)
    attack = GCG(**SMALL, loss="reinforce", judge=judge)
    flow, answer, seen = attack.run(BEHAVIOR, Target(model)), None, []
    round_: list[str] = []
    while True:
        try:
            item = flow.send(answer)
        except StopIteration:
            break
        seen.append(item)
        if isinstance(item, Ask):
            round_ = round_ or next(said)
            answer = [Completion(chat, round_.pop(0)) for chat in item.chats]
        elif isinstance(item, Work):
            answer = Worked(attack.advance(model, [item.part])[0])
        else:
            answer = None
    cases = [item for item in seen if isinstance(item, TestCase)]
    assert [case.score for case in cases] == [0.0, 0.3, WON]
    assert cases[-1].completion.text == "soup"
    assert [item.sampling.temperature for item in seen if isinstance(item, Ask)] == [0.0, 0.7] * 3
    parts = [dict(item.part["answers"]) for item in seen if isinstance(item, Work)]
    assert parts[0] == pytest.approx(dict(zip(["Sure, here", "no", "never"], weights([0.5, 0.0, 0.0]), strict=True)))
    assert parts[1] == pytest.approx(dict(zip(["Sure, here", "no", "maybe"], weights([0.5, 0.0, 0.6]), strict=True)))
    assert attack.most().asks == {"target": 6, "judge": 7}
    for wrong in ({"loss": "reinforce"}, {"judge": judge}, {"loss": "reinforce", "judge": judge, "stop_loss": 1.0}):
        with pytest.raises(SpecError):
            GCG(**SMALL, **wrong)


# --- screens -----------------------------------------------------------------------------------------------------


def test_rank_correlation_is_scipys() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        a, b = draw.integers(0, 6, 12).astype(float), draw.normal(size=12)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == -1.0  # it ranks nothing: nothing agrees


def test_the_agreement_of_a_draft_decides_how_many_are_scored(model: HF, draft: HF) -> None:
    """Of 24 candidates at reduction 2: none but the probes and one where both agree, 12 where they are opposite."""
    search = start(GCG(**SMALL, draft=model, probe=8, reduction=2), model)
    search.candidates = tried(search)
    [full] = search.objective.engine.losses([(search.prompt, search.slot, search.candidates)])
    [losses] = scored(search.attack, [search])
    assert search.agreement == pytest.approx(1.0)
    assert (search.scored, search.seen) == (int(losses.isfinite().sum()), 24)
    assert search.scored in (8, 9)
    assert int(losses.argmin()) == int(full.argmin())
    other = start(GCG(**SMALL, draft=draft, probe=8, reduction=2), model)
    other.candidates = search.candidates
    [losses] = scored(other.attack, [other])
    [drafted] = engine_of(draft).losses([(other.prompt, other.slot, other.candidates)])
    probes = [place for place in range(24) if losses[place] < math.inf]
    assert other.scored == 8 + max(1, int((1 - other.agreement) * 24 / 2)) == len(probes)
    assert torch.allclose(losses[probes], full[probes], atol=1e-4)
    rest = [place for place in range(24) if place not in probes]
    assert sum(float(drafted[rest].min()) < float(drafted[place]) for place in probes) <= 8  # the others are the best
    for wrong in ({"probe": 8}, {"probe": 2, "draft": draft}):
        with pytest.raises(SpecError, match="agreement"):
            GCG(**SMALL, **wrong)


def test_a_race_takes_the_same_steps_and_scores_fewer(model: HF) -> None:
    """Of one token the bound is the loss, so that few are scored; of more none of this model can be ruled out."""
    fields: dict[str, Any] = {**SMALL, "steps": 3, "every": 3, "verify": 3}
    for more in ({"loss": "ce_first"}, {"loss": "ce", "buffer": 3}, {"loss": "cw", "buffer": 0}):
        for target, fewer in (("Sure", False), ("S", True)):
            part = {"behavior": to_json(replace(BEHAVIOR, target_string=target)), "state": None}
            [full] = GCG(**fields, **more).advance(model, [part])
            [raced] = GCG(**fields, **more, race=True).advance(model, [part])
            assert raced["slot"] == full["slot"], more
            assert raced["lowest"] == pytest.approx(full["lowest"], abs=1e-4)
            whole, seen = raced["scored"]
            assert (whole < seen / 2) if fewer else (whole <= seen)
    for wrong in ({"loss": "mellowmax"}, {"screen_tokens": 2}, {"screen": "bfloat16"}):
        with pytest.raises(SpecError, match="race"):
            GCG(**SMALL, **wrong, race=True)
