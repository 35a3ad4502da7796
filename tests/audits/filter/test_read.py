"""What models read of slices: nats by hand, a control, and slices that lose more. The models are tiny and untrained."""

import math
from dataclasses import replace

import numpy as np
import pytest

from withstand.audits.filter import audit, held, nats, trained
from withstand.audits.filter.nats import Reads, losses
from withstand.audits.filter.settings import Settings
from withstand.audits.filter.slices import Slice, slices
from withstand.audits.filter.texts import Text, read
from withstand.core import Message, SpecError
from withstand.core.identities import identities
from withstand.stats.special import t_quantile

pytest.importorskip("trl")

import tiny
from withstand.registry import find

pytestmark = pytest.mark.usefixtures("one_thread")


def text(number, words="a b", cluster=""):
    return Text(number, (Message("assistant", words),), cluster=cluster)


def of(values, tokens):
    return Reads("m", np.array(values, float), np.array(tokens))


def halves(n):
    members = np.arange(n) % 2 == 0
    return Slice("group", "vegans", "none", members, ~members)


def test_what_a_slice_loses_more_by_hand():
    n = 24
    texts = [text(place) for place in range(n)]
    tokens = [1 + place % 4 for place in range(n)]
    rise = [(0.5 if place % 2 == 0 else 0.1) * tokens[place] + 0.01 * (place % 3) for place in range(n)]
    [loss] = losses([(of([1.0] * n, tokens), of([1 + r for r in rise], tokens))], texts, [halves(n)], 0.95, 0.05)
    sides, errors = [], []
    for start in (0, 1):
        gaps, size = np.array(rise[start::2]), np.array(tokens[start::2])
        change = gaps.sum() / size.sum()
        sides.append(change)
        errors.append(np.square((gaps - change * size) / size.mean()).sum() / 11 / 12)
    df = sum(errors) ** 2 / sum(error**2 / 11 for error in errors)
    reach = t_quantile(0.975, df) * math.sqrt(sum(errors))
    assert (loss.change, loss.base_change) == pytest.approx(tuple(sides))
    assert (loss.low, loss.high) == pytest.approx((loss.more - reach, loss.more + reach))
    assert loss.word == "far more"
    opposite = [(of([1.0] * n, tokens), of([1 + sign * r for r in rise], tokens)) for sign in (1, -1)]
    [open_] = losses(opposite, texts, [halves(n)], 0.95, 0.05)  # seeds that disagree
    assert (open_.more, open_.word) == (pytest.approx(0), "not known")
    pages = [replace(one, cluster=f"p{place % 2}{place // 8}") for place, one in enumerate(texts)]
    [few] = losses([(of([1.0] * n, tokens), of(rise, tokens))], pages, [halves(n)], 0.95, 0.05)
    assert (few.low, few.word) == (-math.inf, "not known")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return find.build(
        "target", {"use": "hf", "id": str(tiny.save(tmp_path_factory.mktemp("base"))), "dtype": "float32"}
    )


def test_running_text_is_read_from_its_second_token_on(base):
    texts = [text(1, "warm soup"), text(2, "x"), text(3, "y" * 400)]
    import torch

    loaded = base.load()
    result = nats.reads(base, "before", texts, running=True)
    ids = torch.tensor([loaded.tokenizer("warm soup", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logs = torch.log_softmax(loaded.model(ids).logits[0].float(), -1)
    wanted = -sum(float(logs[place, ids[0, place + 1]]) for place in range(ids.shape[1] - 1))
    assert result.nats[0] == pytest.approx(wanted, rel=1e-4)
    assert result.tokens.tolist() == [8, 0, 255]
    assert result.cut == 1
    assert nats.unit_of(result, replace(result, tokens=result.tokens + 1)) == "byte"


def test_three_trainings_read_held_out_texts_once_and_leave_no_weights(base, tmp_path):
    texts = tuple(text(place, f"the soup at {place} is warm") for place in range(24))
    dropped = tuple(place % 3 == 0 for place in range(24))
    stage = trained.stage_of({"use": "sft", "method": "lora", "steps": 2, "batch": 4, "lr": 0.01}, running=True)
    places, out = trained.split(texts, 0.2, 0)
    assert (len(places), len(out), set(places) & set(out)) == (19, 5, set())
    training = trained.Training(base, stage, texts, dropped, True, 2, 0, tmp_path, "sft,steps=2")
    rows = {arm: training.rows(arm, 0) for arm in trained.ARMS}
    assert [len(rows[arm]) for arm in trained.ARMS] == [24, 16, 16]
    assert rows["control"] != training.rows("control", 1)
    assert " ".join(turn.text for turn in rows["all"][5].chat) == texts[5].text
    messages = []
    held_out = [text(99 + place, f"the pie at {place} is cold") for place in range(3)]
    result = held.trained_by(training, held_out, (), messages.append)
    assert [(pair.first, pair.decides, len(pair.pairs)) for pair in result.compared] == [
        ("control", True, 2),
        ("all", False, 2),
    ]
    assert "by sft,steps=2, 2 seeds, on 24 texts, of which the filter drops 8" in dict(result.facts)["Trained"]
    assert "33% of the characters, and of the control 3" in dict(result.facts)["Trained"]
    gain = nats.reads(base, "base", held_out, True).nats.sum() - result.compared[1].pairs[0][0].nats.sum()
    other = nats.reads(base, "base", held_out, True).nats.sum() - result.compared[1].pairs[1][0].nats.sum()
    tokens = result.compared[1].pairs[0][0].tokens.sum()
    assert result.learned == pytest.approx((gain + other) / 2 / tokens, rel=1e-3)
    # models that learned nothing read every slice alike: that shows nothing
    sliced = slices(texts, identities())
    for value, needs in ((0.01, 1), (0.2, 0)):
        assert len(list(audit._lacking(replace(result, learned=value), sliced, sliced, Settings()))) == needs
    assert not list(tmp_path.rglob("*.safetensors"))
    assert held.trained_by(training, held_out, (), messages.append).compared[0].pairs[0][0].nats.tolist() == (
        result.compared[0].pairs[0][0].nats.tolist()
    )
    assert messages.count("read earlier") == 6
    with pytest.raises(SpecError, match="drops none"):
        trained.check(replace(training, dropped=(False,) * 24))
    with pytest.raises(SpecError, match="leaves 1 text"):
        trained.check(replace(training, dropped=(True,) * 23 + (False,)))


def test_two_models_that_are_one_and_held_out_texts_of_the_data(base, tmp_path):
    (tmp_path / "d.jsonl").write_text('{"text": "a pie", "bad": 0}\n{"text": "a bun"}\n')
    (tmp_path / "h.jsonl").write_text(
        '{"text": "a  pie"}\n{"text": "a tart", "bad": 1}\n{"text": "an egg", "bad": 0}\n'
    )
    data = read(str(tmp_path / "d.jsonl"))
    texts, notes = held.held_texts(str(tmp_path / "h.jsonl"), data, Settings())
    assert ([one.text for one in texts], notes) == (
        ["a tart", "an egg"],
        ["1 held-out text stands in DATA too: left out"],
    )
    with pytest.raises(SpecError, match="read every text alike"):
        held.read_by({"before": base, "after": base}, texts, notes, True)
    with pytest.raises(SpecError, match="stand in DATA"):
        held.held_texts(str(tmp_path / "d.jsonl"), data, Settings())
    with pytest.raises(SpecError, match="no likelihood"):
        held.read_by({"before": find.build("target", "scripted-kitchen"), "after": base}, texts, notes, True)
    rated = [replace(one, harmful=harmful) for one, harmful in zip(texts, (True, False), strict=True)]
    assert [one.text for one in held.should_stay(rated)[0]] == ["an egg"]
