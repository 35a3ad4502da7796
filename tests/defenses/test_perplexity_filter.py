"""What the perplexity filter blocks, asks and says, with a model whose nats are counted by hand."""

from dataclasses import dataclass, replace

import pytest

from fakes import ByRule
from withstand.core import Message, Sampling, SpecError, Target, Work, Worked, ask, intercept, user
from withstand.defenses.perplexity_filter import PerplexityFilter
from withstand.models.scripted import Scripted
from withstand.registry import find
from withstand.runner.flows import defended


@dataclass(frozen=True)
class Weighty(ByRule):
    """A model that says it has weights."""

    gives: frozenset = frozenset({"system", "turns", "weights"})


MODEL = Weighty(lambda chat, _: f"Sure: {chat[-1].text}")
FILTER = PerplexityFilter(threshold=2.0)


def played(flow, nats):
    """The value of a flow and its asks; a text has the nats that it is given, or one each for its letters."""
    asks, answer = [], None
    while True:
        try:
            item = flow.send(answer)
        except StopIteration as done:
            return done.value, asks
        if isinstance(item, Work):
            answer = Worked([nats.get(text, 1.0) for text in item.part], seconds=0.5 * len(item.part), flops=8.0)
        else:
            asks.append([chat[-1].text for chat in item.chats])
            made = item.model.generate(item.chats, item.sampling, range(len(item.chats)))
            answer = [replace(completion, flops=1.0) for completion in made]


def test_it_blocks_from_the_threshold_on_and_asks_the_rest():
    chats = [user("odd"), user("plain"), user("even")]
    flow = intercept(_asked(Target(MODEL, FILTER), chats), defended)
    answers, asks = played(flow, {"odd": 4.0, "even": 2.0})
    assert asks == [["plain"]]
    assert [(a.text, a.finish, a.suspicion, a.seconds, a.flops) for a in answers] == [
        ("", "filtered", 2.0, 0.5, 8 / 3),
        ("Sure: plain", "stop", 0.5, 0.5, 1 + 8 / 3),
        ("", "filtered", 1.0, 0.5, 8 / 3),
    ]
    assert [(c.by, c.stage, c.blocked) for a in answers for c in a.checks] == [
        ("perplexity_filter", "before", blocked) for blocked in (True, False, True)
    ]
    assert played(FILTER.answer(MODEL, [], Sampling()), {}) == ([], [])


def _asked(target, chats):
    return (yield from ask(target, chats))


def test_every_turn_of_the_user_and_a_prefill_count_and_no_others():
    chat = (
        Message("system", "odd"), Message("user", "odd"), Message("assistant", "odd"), Message("user", "fine"),
        Message("assistant", "Sure"),
    )  # fmt: skip
    chats = [chat, (chat[0], *chat[2:]), chat[:1], (*chat[2:4], Message("assistant", "even"))]
    assert played(FILTER.suspicion(MODEL, chats), {"odd": 9.0, "even": 5.0})[0] == [4.5, 0.5, 0.0, 2.5]


def test_it_needs_a_threshold_and_weights():
    with pytest.raises(SpecError, match="no threshold") as error:
        find.build("defense", "perplexity_filter")
    assert "withstand guard threshold perplexity_filter:MODEL" in error.value.hint
    for fields in ({"threshold": 0.0}, {"threshold": float("nan")}, {"threshold": 1.0, "window": -1}):
        with pytest.raises(SpecError):
            PerplexityFilter(**fields)
    with pytest.raises(SpecError, match="text only"):
        PerplexityFilter(Scripted(), threshold=2.0)
    assert (FILTER.needs, PerplexityFilter(MODEL, 2.0).needs) == ({"weights"}, frozenset())


def test_a_target_without_weights_is_refused_before_anything_is_asked(withstand):
    run = ["run", "--suite", "kitchen", "--target", "scripted-kitchen", "--attack", "direct", "--limit", "1"]
    done = withstand(*run, "--defense", "perplexity_filter,threshold=3")
    assert done.code == 2
    assert "perplexity_filter needs weights, which scripted-kitchen does not give" in done.err
    assert "perplexity_filter:smollm2" in done.err


def test_a_score_that_is_no_number_passes_nothing(monkeypatch):
    pytest.importorskip("torch")
    from withstand.core import AskError
    from withstand.engine import perplexity

    monkeypatch.setattr(perplexity, "text_nats", lambda _model, texts: [[1.0, float("nan")] for _ in texts])
    with pytest.raises(AskError, match="no number"):
        FILTER.read(MODEL, [["a"]])
    monkeypatch.setattr(perplexity, "text_nats", lambda _model, texts: [[1.0] * 10 + [3.0] for _ in texts])
    assert FILTER.read(MODEL, [["a", "b"], []]) == [[3.0, 3.0], []]
    [term] = FILTER.terms(MODEL)
    assert (term.model, term.same, term.threshold, term.window) == (MODEL, True, 0.98 * 2.0, 10)
    assert not PerplexityFilter(Weighty(lambda *_: ""), 2.0).terms(MODEL)[0].same
