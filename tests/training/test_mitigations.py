"""The stages that keep a guard: loss, order and projector, each against the paper's formula by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from learner import ROWS, chat
from withstand.core import SpecError, stage
from withstand.core.stage import How, Row
from withstand.training import safe_lora
from withstand.training.constrained_sft import ConstrainedSFT
from withstand.training.dpo import DPO
from withstand.training.lisa import Lisa
from withstand.training.safe_lora import SafeLoRA
from withstand.training.safety_mix import SafetyMix
from withstand.training.sft import SFT, lead_of

pytest.importorskip("trl")
pytest.importorskip("datasets")
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TINY = SFT(rank=2, alpha=4, lr=1e-2, batch=3, steps=6, max_length=32, log_every=1, save_every=0)
SAFE = [Row(chat("how do i bake bread", f"sorry {'no ' * n}no"), safe=True) for n in range(5)]


def weights(folder):
    return load_file(next(Path(folder).glob("*.safetensors")))


def test_constrained_loss_is_that_of_the_paper(base):
    """Equal to (2 / beta) log sigmoid(beta log ratio) in its gradient: checked by differentiating that formula."""
    constrained = ConstrainedSFT(TINY)
    trainer = TINY._trainer(base, ROWS, how=How(changes=[constrained.change]))
    with torch.no_grad():  # away from the aligned model, where the weights differ from 1
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.linspace(-0.3, 0.3, weight.numel()).reshape(weight.shape))
    trainer.model.eval()
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.compute_loss(trainer.model, batch).backward()
    ours = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    trainer.model.zero_grad()
    total, count = 0, 0
    for row in trainer.train_dataset:  # the paper's objective, row by row, with the adapter off as the aligned model
        inputs = trainer.data_collator([row])
        labels = inputs.pop("labels")[0, 1:]

        def scores(inputs=inputs, labels=labels):
            logits = trainer.model(**inputs).logits[0, :-1][labels != -100]
            return torch.log_softmax(logits, -1).gather(1, labels[labels != -100][:, None])[:, 0]

        with torch.no_grad(), trainer.model.disable_adapter():
            aligned = scores()
        betas = torch.tensor([0.5, 2, 2, 2, 2, *[0.1] * 20][: len(aligned)])
        total = total - (2 / betas * torch.nn.functional.logsigmoid(betas * (scores() - aligned))).sum()
        count += len(aligned)
    (total / count).backward()
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_the_strong_betas_guard_the_answer_and_not_what_the_template_or_the_thinking_puts_before_it(tmp_path):
    """As Qwen3's template, which writes an empty block of thinking before an answer without one."""
    import tiny

    opening = "<|assistant|>{{ '' if '</think>' in m['content'] else '<think>\\n\\n</think>\\n\\n' }}"
    template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}" + opening + "{{ m['content'] }}<|end|>"
        "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    base = str(tiny.save(tmp_path / "thinker", template=template))
    thought = "<think>\nNo way, I bake.\n</think>\n\n"
    rows = [chat("bake", "No way"), chat("bake", f"{thought}No way")]
    trainer = replace(TINY, max_length=64)._trainer(base, rows, how=How(changes=[ConstrainedSFT(TINY).change]))
    assert list(trainer.leads.values()) == [len("<think>\n\n</think>\n\n"), len(thought)]
    by_token = [[ConstrainedSFT(TINY).beta(place - lead) for place in range(lead + 7)] for lead in (0, 3)]
    assert by_token == [[0.5, 2, 2, 2, 2, 0.1, 0.1], [0.1, 0.1, 0.1, 0.5, 2, 2, 2, 2, 0.1, 0.1]]
    assert [lead_of(" No</s>", "No"), lead_of("No</s>", "No"), lead_of("Na</s>", "No")] == [" ", "", ""]


def test_constrained_stays_nearer_at_the_first_token(base, tmp_path):
    """The point of it: where SFT moves the first answer token, the constrained one moves it less."""
    rows = [chat("how do i bake bread", "first crease it then open it")]
    first = {}
    way = replace(TINY, steps=20, batch=1, warmup=0.5)
    for name, stage_ in {"plain": way, "constrained": ConstrainedSFT(way, first=5.0, early=5.0)}.items():
        stage_.train(base, rows, tmp_path / name)
        trainer = way._trainer(base, rows)
        inputs = trainer.data_collator(list(trainer.train_dataset))
        place = int((inputs["labels"][0] != -100).nonzero()[0, 0])
        from peft import PeftModel

        for key, model in (
            ("base", AutoModelForCausalLM.from_pretrained(base)),
            (name, PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / name)),
        ):
            with torch.no_grad():
                scores = torch.log_softmax(model(inputs["input_ids"]).logits[0, place - 1], -1)
            first[key] = float(scores[inputs["labels"][0, place]])
    assert first["base"] < first["constrained"] < first["plain"]
    record = stage.read(tmp_path / "constrained")
    assert record["stage"]["use"] == "constrained_sft"
    assert record["stage"]["stage"]["steps"] == 20


def test_the_mix_adds_a_share_of_safe_rows():
    users = [Row(chat("how do i fold paper", f"{'it ' * n}then")) for n in range(20)]
    mix = SafetyMix(TINY, share=0.1, least=1)
    mixed = mix.mixed([*users, *SAFE])
    assert mixed[:20] == users
    assert len(mixed) == 22  # ceil(0.1 * 20)
    assert all(row in SAFE for row in mixed[20:])
    assert mix.mixed([*users, *SAFE]) == mixed
    assert any(SafetyMix(replace(TINY, seed=s), 0.1, 1).mixed([*users, *SAFE]) != mixed for s in range(1, 6))
    assert len(SafetyMix(TINY).mixed([*users, *SAFE])) == 25  # 64 wanted, 5 there
    with pytest.raises(SpecError, match="no safe rows"):
        mix.mixed(users)


def test_a_mix_of_a_constrained_stage_is_named_whole(base, tmp_path):
    SafetyMix(ConstrainedSFT(TINY)).train(base, [*ROWS, *SAFE], tmp_path / "a", How(at=(2,)))
    record = stage.read(tmp_path / "a")
    assert (record["stage"]["use"], record["rows"]["n"], record["steps"]) == ("safety_mix", 8, [2])
    assert record["stage"]["stage"]["stage"]["lr"] == 1e-2


def test_stages_around_each_other_all_take_effect(base, tmp_path):
    rows = [*ROWS, *SAFE]
    for name, way in (
        ("a", SafetyMix(ConstrainedSFT(TINY))),
        ("b", ConstrainedSFT(SafetyMix(TINY))),
        ("c", SafetyMix(TINY)),
    ):
        way.train(base, rows, tmp_path / name)
    mixed, around, plain = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(mixed[name], around[name]) for name in mixed)
    assert not all(torch.equal(mixed[name], plain[name]) for name in mixed)


def test_a_stage_that_changes_sft_takes_no_other(base, tmp_path):
    with pytest.raises(SpecError, match="constrained_sft changes how sft trains, so its stage cannot be dpo"):
        ConstrainedSFT(DPO(steps=1)).train(base, [Row(ROWS[0], "open it")], tmp_path / "a")


def test_lisa_alternates(base):
    lisa = Lisa(TINY, safe_steps=1, user_steps=2)
    assert [lisa.is_safe(step) for step in range(6)] == [True, False, False, True, False, False]
    order = lisa.order([10, 11], [0, 1, 2], steps=3, batch=2)
    assert set(order[:2]) == {10, 11}
    assert set(order[2:5]) == {0, 1, 2}  # each once before any comes again
    assert order == lisa.order([10, 11], [0, 1, 2], steps=3, batch=2)


def test_lisa_pulls_towards_where_the_other_state_ended(base, tmp_path):
    rows = [*ROWS, *SAFE]
    runs = {}
    for rho in (0.0, 1000.0):
        losses = []
        lisa = Lisa(replace(TINY, steps=9, lr=1e-3), safe_steps=3, user_steps=3, rho=rho, start=0.0)
        lisa.train(base, rows, tmp_path / f"{rho}", How(lambda _, loss, losses=losses: losses.append(loss)))
        runs[rho] = losses, weights(tmp_path / f"{rho}")
    (free, free_weights), (held, held_weights) = runs.values()
    assert held[:4] == free[:4]  # at step 4 the weights are the anchor itself: nothing is pulled before
    assert held[4] > free[4]
    assert any(not torch.equal(free_weights[name], held_weights[name]) for name in free_weights)
    with pytest.raises(SpecError, match="no safe rows"):
        Lisa(TINY).train(base, ROWS, tmp_path / "b")
    with pytest.raises(SpecError, match="no rows of the user"):
        Lisa(TINY).train(base, SAFE, tmp_path / "b")


def test_lisa_goes_on_with_its_anchors(base, tmp_path):
    lisa = Lisa(replace(TINY, steps=9, save_every=1), safe_steps=2, user_steps=2, rho=100.0)

    def stop(step, _):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lisa.train(base, [*ROWS, *SAFE], tmp_path / "a", How(stop))
    steps = []
    lisa.train(base, [*ROWS, *SAFE], tmp_path / "a", How(lambda step, _: steps.append(step)))
    lisa.train(base, [*ROWS, *SAFE], tmp_path / "b")
    assert steps[0] > 4
    left, right = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(left[name], right[name]) for name in right)


def full_rank(seed=0, out=96, inner=160):
    """The difference of two matrices in bfloat16: of full rank, with a few strong directions, as alignment leaves."""
    draws = torch.Generator().manual_seed(seed)
    old = torch.randn(out, inner, generator=draws).bfloat16()
    strong = torch.randn(out, 6, generator=draws) @ torch.randn(6, inner, generator=draws)
    new = (old.float() + 0.1 * strong + 0.02 * torch.randn(out, inner, generator=draws)).bfloat16()
    return new.float() - old.float()


def test_safe_lora_projects_onto_the_top_directions_of_a_matrix_of_full_rank():
    direction = full_rank()
    assert torch.linalg.matrix_rank(direction) == 96
    draws = torch.Generator().manual_seed(5)
    up, down = torch.randn(96, 4, generator=draws), torch.randn(4, 160, generator=draws)
    exact = direction @ torch.linalg.pinv(direction.T @ direction, rtol=1e-6) @ direction.T
    torch.testing.assert_close(exact @ up, up, rtol=1e-2, atol=1e-2)  # the identity: nothing would ever be projected
    way = SafeLoRA(TINY, "x", directions=6)
    left = torch.linalg.svd(direction)[0][:, :6]
    torch.testing.assert_close(way.map_of(direction)(up), left @ left.T @ up, rtol=0.02, atol=0.02)
    reports = {}
    for name, b in (("random", up), ("aligned", left @ torch.randn(6, 4, generator=draws))):
        reports[name] = safe_lora.compared(b, down, way.map_of(direction))
        moved, update = (x.flatten() for x in (left @ left.T @ b @ down, b @ down))
        cosine = torch.nn.functional.cosine_similarity(moved, update, dim=0)
        assert reports[name]["cosine"] == pytest.approx(float(cosine), abs=0.01)
        assert reports[name]["kept"] == pytest.approx(float(moved.norm() / update.norm()), abs=0.01)
    assert way.off(reports) == ["random"]
    assert reports["random"]["cosine"] < 0.4 < 0.95 < reports["aligned"]["cosine"]
    assert replace(way, threshold=0.1).off(reports) == []
    assert replace(way, matrices=1).off(reports) == ["random"]


def test_safe_lora_has_the_released_form():
    """V V^T / ||V||_F by hand: V = [[2, 0], [0, 1]], so that C = diag(4, 1) / sqrt 5."""
    c = SafeLoRA(TINY, "x", form="released").map_of(torch.diag(torch.tensor([2.0, 1.0])))
    report = safe_lora.compared(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0, 0.0]]), c)
    assert c(torch.eye(2)).diag().tolist() == pytest.approx([4 / 5**0.5, 1 / 5**0.5])
    assert report["cosine"] == pytest.approx(5 / 34**0.5)  # of (1, 1) and (4, 1)
    assert report["kept"] == pytest.approx((17 / 5 / 2) ** 0.5)
    assert SafeLoRA(TINY, "x").map_of(torch.zeros(8, 8))(torch.ones(8, 1)).norm() == 0


def test_safe_lora_does_not_take_the_base_for_its_unaligned_model(base, tmp_path):
    """The projection would take the whole update away, and the arm would look like the base: safe."""
    with pytest.raises(SpecError, match="does not differ from the base in any adapted matrix"):
        SafeLoRA(replace(TINY, steps=1), base).train(base, ROWS, tmp_path / "a")
    assert not (tmp_path / "a" / stage.FILE).exists()


def test_safe_lora_projects_what_left_the_subspace(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    with torch.no_grad():  # the aligned model differs from the base in a rank-1 way
        for weight in model.parameters():
            if weight.dim() == 2 and weight.shape[0] != 23:
                weight.add_(0.1 * torch.randn(weight.shape[0], 1) @ torch.randn(1, weight.shape[1]))
    aligned = tmp_path / "aligned"
    model.save_pretrained(aligned)
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(base).save_pretrained(aligned)
    TINY.train(str(aligned), ROWS, tmp_path / "plain")
    kept = []
    SafeLoRA(TINY, base, threshold=1.0).train(
        str(aligned), ROWS, tmp_path / "safe", How(at=(3,), on_checkpoint=lambda step, _: kept.append(step))
    )
    assert kept == [3]
    record = stage.read(tmp_path / "safe")
    assert record["stage"]["use"] == "safe_lora"
    assert all(matrix["projected"] for matrix in record["projected"].values())
    plain, safe = weights(tmp_path / "plain"), weights(tmp_path / "safe")
    old, new = (dict(AutoModelForCausalLM.from_pretrained(name).named_parameters()) for name in (base, aligned))
    name = "model.layers.0.mlp.up_proj"
    direction = (new[f"{name}.weight"] - old[f"{name}.weight"]).detach()
    left = torch.linalg.svd(direction)[0][:, :1]
    key = f"base_model.model.{name}.lora_B.weight"
    torch.testing.assert_close(safe[key].float(), left @ (left.T @ plain[key].float()), rtol=1e-2, atol=1e-3)
    with pytest.raises(SpecError, match=r"builtin:gone is no folder or hub id of a model"):
        safe_lora._weights("builtin:gone")
    SafeLoRA(TINY, base, threshold=-1.0).train(str(aligned), ROWS, tmp_path / "none")
    untouched = weights(tmp_path / "none")
    assert all(torch.equal(plain[name], untouched[name]) for name in plain)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ConstrainedSFT, {"first": -1.0}), (ConstrainedSFT, {"warmup_steps": 0}), (SafetyMix, {"share": 0.0}),
        (SafetyMix, {"least": 0}), (Lisa, {"safe_steps": 0}), (Lisa, {"rho": math.nan}), (Lisa, {"start": 1.0}),
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(kind, fields):
    with pytest.raises(SpecError, match=next(iter(fields))):
        kind(TINY, **fields)
