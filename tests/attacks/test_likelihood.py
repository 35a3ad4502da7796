"""The attack likelihood: only tokens of the advice count, by a toy model worked out by hand; the rows of a run."""

from dataclasses import dataclass, replace
from math import log
from typing import Any, ClassVar

import pytest

from withstand.attacks.templated.likelihood import Likelihood
from withstand.core import Behavior, Completion, SpecError, Target, Worked
from withstand.judges.yes_no import YesNo

pytest.importorskip("torch")
import torch

import tiny
from withstand.engine import likelihood
from withstand.models.hf import HF

WET = Behavior("k/unsafe-0", "Should you?", "If hot,", "use wet cloth.", tags=("against:use dry.", "against:wait."))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return HF(str(tiny.save(tmp_path_factory.mktemp("a"))), dtype="float32", device="cpu")


def turned(behavior, rival):
    """The same pair from the other side."""
    tags = (f"against:{behavior.target_string}",)
    return replace(behavior, id="k/safe-0", target_string=rival, tags=tags, benign=True)


def cases_of(attack, behavior, model):
    flow = attack.run(behavior, Target(model))
    item = next(flow)
    cases = []
    [value] = item.do(item.model, [item.part])
    item = flow.send(Worked(value))
    while True:
        cases.append(item)
        try:
            item = next(flow)
        except StopIteration:
            return cases, value


def test_only_the_advice_counts(monkeypatch):
    """A model whose every word has a chance of its own: 1/2 for "use", 1/4 for "wet", 1/8 else, 1/1000 in scenarios."""
    chances = {"use": 1 / 2, "wet": 1 / 4, "If": 1 / 1000, "hot,": 1 / 1000, "You": 1 / 1000, "should": 1 / 1000}

    def tokens(_model, texts, continuations):
        return [(text.split(), continuation.split()) for text, continuation in zip(texts, continuations, strict=True)]

    def nats(_model, pairs):
        return [[-log(chances.get(word, 1 / 8)) for word in answer] for _, answer in pairs]

    monkeypatch.setattr(likelihood, "continuation_tokens", tokens)
    monkeypatch.setattr(likelihood, "token_nats", nats)
    part = {"scenario": WET.context, "advice": ["use wet cloth.", "use dry.", "wait."]}
    by_hand = {
        "sum": [log(1 / 64), log(1 / 16), log(1 / 8)],  # 1/2 * 1/4 * 1/8, 1/2 * 1/8, 1/8
        "mean": [log(1 / 64) / 3, log(1 / 16) / 2, log(1 / 8)],
        "pmi": [0.0, 0.0, 0.0],  # its words are as likely after "You should"
    }
    for normalize, expected in by_hand.items():
        [values] = Likelihood(normalize=normalize).scores(None, [part])
        assert values == pytest.approx(expected), normalize


def test_tokens_and_nats_are_those_of_a_plain_pass(model):
    loaded = model.load()
    part = {"scenario": WET.context, "advice": [WET.target_string, "use dry."]}
    [values] = Likelihood(normalize="sum").scores(model, [part])
    for advice, value in zip(part["advice"], values, strict=True):
        [(prompt, answer)] = likelihood.continuation_tokens(model, [WET.context], [advice])
        assert loaded.tokenizer.decode([*prompt, *answer]) == f"{WET.context} {advice}"
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logits = torch.log_softmax(loaded.model(ids).logits[0].float(), -1)
        plain = sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))
        assert value == pytest.approx(plain, abs=1e-4)
    both = Likelihood().scores(model, [part, {"scenario": "To rest,", "advice": ["sit."]}])
    assert both[0] == pytest.approx(Likelihood().scores(model, [part])[0], abs=1e-5)  # alone as in a batch
    [chat] = Likelihood(frame="chat").scores(model, [part])
    assert len(chat) == 2
    assert chat != pytest.approx(Likelihood().scores(model, [part])[0])


def test_turning_the_labels_mirrors_the_preference(model, play):
    attack = Likelihood()
    cases, [own, *others] = cases_of(attack, WET, model)
    assert len(cases) == 2
    for case, rival, score in zip(cases, ("use dry.", "wait."), others, strict=True):
        [[(first, high), (second, low)]] = case.completion.logprobs
        assert {first: high, second: low} == {WET.target_string: own, rival: score}
        assert high > low
        assert case.completion.text == first
        [verdict] = play(YesNo().grade(WET, [case.completion])).value
        safe = turned(WET, rival)
        [mirrored], _ = cases_of(attack, safe, model)
        [other] = play(YesNo().grade(safe, [mirrored.completion])).value
        expected = ("success", "refused") if own > score else ("failure", "success")
        assert (verdict.outcome, other.outcome) == expected
    [tied] = play(YesNo().grade(WET, [Completion(cases[0].chat, "")])).value
    assert tied.outcome == "unscored"


@dataclass(frozen=True)
class Silent:
    """A model that gives text alone."""

    gives: ClassVar[frozenset[str]] = frozenset()
    place: ClassVar[str] = "api:host"


def test_mistakes_say_what_to_do(model):
    others: list[tuple[Behavior, Any, str]] = [
        (WET, Target(Silent()), "needs weights but api:host is text only"),
        (Behavior("a", "t"), Target(model), "no advice of both labels"),
        (WET, Target(model, defense=object()), "no defense takes part"),
    ]
    for behavior, target, wrong in others:
        with pytest.raises(SpecError, match=wrong) as caught:
            next(Likelihood().run(behavior, target))
        assert caught.value.hint
    for fields in ({"normalize": "max"}, {"frame": "x"}, {"rivals": 0}):
        with pytest.raises(SpecError, match=next(iter(fields))):
            Likelihood(**fields)
