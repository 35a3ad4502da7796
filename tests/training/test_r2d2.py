"""R2D2's losses by hand, a micro-batch by a slow loop, its pool, and that it resumes."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest

import tiny
from withstand.attacks.gradient.gcg import GCG
from withstand.attacks.templated.direct import Direct
from withstand.core import Message, SpecError, to_json, user
from withstand.core.stage import How, Row, read
from withstand.registry import find
from withstand.training.r2d2 import R2D2
from withstand.training.sft import SFT, tokenized

pytest.importorskip("trl")
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from withstand.attacks.gradient._candidates import draw_candidates
from withstand.engine.engine import engine_of
from withstand.engine.text import allowed, make_prompt
from withstand.models.hf import HF
from withstand.training._hunt import FILE
from withstand.training._pool import Pool
from withstand.training._view import View

NO = Message("assistant", "No.")
ROWS = [
    Row((*user(f"bake {dish}"), NO), rejected=target, safe=True)
    for dish in ("bread", "soup", "cake")
    for target in ("Sure", "Yes, mix")
]
CLEAN = [Row((*user(f"fold {shape}"), Message("assistant", f"Crease {shape}."))) for shape in "abcd"]
INNER = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, max_length=128, log_every=1, save_every=0, warmup=0.0)
ATTACK = GCG(steps=2, width=6, topk=12, buffer=0, every=2, together=2)
STAGE = R2D2(INNER, ATTACK, pool=2, updated=2, reset_every=0, marks_min=3, marks_max=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("base")))


def view_of(base, **lora):
    model = AutoModelForCausalLM.from_pretrained(base)
    if lora:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], **lora))
    return View(model, AutoTokenizer.from_pretrained(base))


def data(view):
    """The adversarial rows as the trainer has them."""
    return [tokenized(view.tokenizer, row.chat) for row in ROWS]


def trained(folder):
    [path] = folder.glob("*.safetensors")
    return load_file(path)


def plain(model, ids, answer):
    """The logits of an answer, in float64, by a pass of its own."""
    logits = model(torch.tensor([[*ids, *answer]])).logits[0].double()
    return logits[len(ids) - 1 : len(ids) - 1 + len(answer)]


def walked(model, tokenizer, prompt, slot, seed):
    """GCG as the reference writes it, a pass for each candidate; only the draw of candidates is ours."""
    embed = model.get_input_embeddings().weight
    for step in range(ATTACK.steps):
        hot = torch.nn.functional.one_hot(torch.tensor(slot), len(embed)).float().requires_grad_(True)
        rest = [*prompt.tail, *prompt.target]
        embedded = torch.cat([embed[list(prompt.head)], hot @ embed, embed[rest]])
        logits = model(inputs_embeds=embedded[None]).logits[0, -len(prompt.target) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(prompt.target)).backward()
        free = torch.from_numpy(allowed(tokenizer, len(embed), True))
        best = hot.grad.masked_fill(~free, math.inf).topk(ATTACK.topk, dim=1, largest=False).indices.numpy()
        swaps = draw_candidates(tokenizer, [prompt], slot, best, ATTACK.width, 1, "random", (*seed, step))

        def loss(candidate):
            logits = plain(model, [*prompt.head, *candidate, *prompt.tail], prompt.target)
            return torch.nn.functional.cross_entropy(logits, torch.tensor(prompt.target)).item()

        slot = min(swaps, key=loss)
    return slot


def test_a_micro_batch_is_that_of_a_slow_loop(base, tmp_path):
    """Through an adapter that changes nothing yet: the suffixes, the three losses and their sum."""
    seen = []
    stage = replace(STAGE, stage=replace(INNER, steps=1, dropout=0.0), away=0.7, toward=0.3, clean=2.0)
    stage.train(base, [*CLEAN[:2], *ROWS], tmp_path / "a", How(lambda _, loss: seen.append(loss)))
    view = view_of(base)
    model, tokenizer = view.own.model, view.tokenizer
    pool = Pool(stage, ROWS, data(view), view, 128)
    away, toward, suffixes = [], [], []
    for place, entry in enumerate(pool.entries):
        row = ROWS[entry.row]
        prompt, _ = make_prompt(view, pool.behavior(entry.row, ""), "! !")
        slot = walked(model, tokenizer, prompt, entry.slot, (0, f"0.{place}.0"))
        suffixes.append(tokenizer.decode(slot))
        asked = f"<|user|>{row.chat[0].text}{suffixes[-1]}<|end|><|assistant|>"
        ids, target, refusal = (
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, row.rejected, "No.")
        )
        p = torch.softmax(plain(model, ids, target), -1)[range(len(target)), target]
        away.append((-(1 - p).log() * (p.log() >= -5)).mean().item())
        logs = torch.log_softmax(plain(model, ids, refusal), -1)
        toward.append(-logs[range(len(refusal)), refusal].mean().item())
    course = json.loads((tmp_path / "a" / FILE).read_text())
    assert [case["suffix"] for case in course["pool"]] == suffixes
    [step] = course["course"]
    nats, tokens = 0.0, 0
    for row in CLEAN[:2]:
        ids = tokenizer(f"<|user|>{row.chat[0].text}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
        answer = tokenizer(row.chat[1].text, add_special_tokens=False)["input_ids"]
        nats -= torch.log_softmax(plain(model, ids, answer), -1)[range(len(answer)), answer].sum().item()
        tokens += len(answer)
    parts = (nats / tokens, sum(away) / 2, sum(toward) / 2)
    assert [step[name] for name in ("clean", "away", "toward")] == pytest.approx(parts, rel=1e-4)
    assert seen == pytest.approx([2 * parts[0] + 0.7 * parts[1] + 0.3 * parts[2]], rel=1e-4)
    assert min(away) > 0


def test_the_search_is_that_of_the_attack_alone_and_leaves_the_model_as_it_was(base):
    """Behind an adapter with dropout, in training; whole and screened; and what is trained on has the same ids."""
    for attack in (ATTACK, replace(ATTACK, buffer=1, screen="bfloat16", verify=2)):
        view = view_of(base, lora_dropout=0.5)
        view.trained.train()
        pool = Pool(replace(STAGE, attack=attack), ROWS, data(view), view, 128)
        before = [list(entry.slot) for entry in pool.entries]
        state = torch.get_rng_state()
        with view.searching():
            cases = pool.search()
        assert torch.equal(state, torch.get_rng_state())
        assert view.trained.training
        assert view.flops > 0
        learned = {name for name, weight in view.trained.named_parameters() if weight.requires_grad}
        assert learned == {name for name, _ in view.trained.named_parameters() if "lora_" in name}
        behaviors = [to_json(pool.behavior(entry.row, f"0.{i}.0")) for i, entry in enumerate(pool.entries)]
        parts = [{"behavior": b, "state": attack.begun_at(s)} for b, s in zip(behaviors, before, strict=True)]
        outside = HF(base, dtype="float32")
        states = attack.advance(outside, parts)
        assert [entry.slot for entry in pool.entries] == [state["slot"] for state in states] != before
        assert [entry.loss for entry in pool.entries] == pytest.approx([state["loss"] for state in states], rel=1e-5)
        for case, entry in zip(cases, pool.entries, strict=True):
            text = f"<|user|>{ROWS[entry.row].chat[0].text}{view.tokenizer.decode(entry.slot)}<|end|><|assistant|>"
            assert case.prompt == view.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_no_automatic_precision_reaches_a_search(base):
    """As accelerate sets it around all weights in bfloat16."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    model = AutoModelForCausalLM.from_pretrained(base)
    plain = View(AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base))
    AcceleratorState._reset_state(reset_partial_state=True)  # which all of a process share
    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    AcceleratorState._reset_state(reset_partial_state=True)
    view = View(prepared, plain.tokenizer)
    losses = []
    for seen in (plain, view):
        pool = Pool(STAGE, ROWS, data(seen), seen, 128)
        with seen.searching():
            pool.search()
        losses.append([entry.loss for entry in pool.entries])
    assert losses[0] == losses[1]
    ids = torch.tensor([[5, 6, 7]])
    assert (prepared(ids).logits - plain.own.model(ids).logits).abs().max() > 1e-4  # and it is set again


def test_after_an_update_losses_are_those_of_the_changed_model(base):
    """In its own precision and in a copy of another, behind an adapter; kept trunks would say the old ones."""
    view = view_of(base)
    view = View(get_peft_model(view.trained, LoraConfig(r=2, target_modules="all-linear")), view.tokenizer)
    prompt, slot = make_prompt(view, replace_target("bake bread", "Sure"), "! ! !")
    ids = [*prompt.head, *slot, *prompt.tail]

    def losses():
        with view.searching():
            plain_loss = torch.nn.functional.cross_entropy(
                plain(view.trained, ids, prompt.target), torch.tensor(prompt.target)
            )
            packed = [float(engine_of(view, dtype).losses([(prompt, slot, [slot])])[0]) for dtype in ("", "bfloat16")]
        return float(plain_loss), *packed

    first, own, low = losses()
    assert own == pytest.approx(first, abs=1e-4)
    assert low == pytest.approx(first, rel=0.03)
    with torch.no_grad():
        for name, weight in view.trained.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
    second, stale, low = losses()
    assert abs(second - first) > 0.1
    assert abs(stale - second) > 1e-2
    assert low == pytest.approx(first, rel=0.03)
    view.changed()
    second, own, low = losses()
    assert own == pytest.approx(second, abs=1e-4)
    assert low == pytest.approx(second, rel=0.03)


def replace_target(text, target):
    return SimpleNamespace(id="b", text=text, target_string=target, prompt=lambda given=text: given)


def test_resets_replace_a_share_after_so_many_steps(base, tmp_path, monkeypatch):
    stage = replace(STAGE, pool=2, updated=1, reset_every=2, reset_share=0.5, stage=replace(INNER, steps=5))
    seen = []
    search = Pool.search
    monkeypatch.setattr(
        Pool, "search", lambda self: seen.append([(e.row, tuple(e.slot)) for e in self.entries]) or search(self)
    )
    stage.train(base, [*CLEAN, *ROWS], tmp_path / "a")
    new = [[a[0] != b[0] for a, b in zip(old, now, strict=True)].count(True) for old, now in pairwise(seen)]
    assert new == [0, 1, 0, 1]  # before the third and the fifth step, the third behavior in place of one of two
    moved = [[a[1] != b[1] for a, b in zip(old, now, strict=True)].count(True) for old, now in pairwise(seen)]
    assert moved[::2] == [1, 1]  # one is searched at a time, and what is not is kept
    view = view_of(base)
    pool = Pool(replace(stage, pool=2, updated=1, reset_share=1.0), ROWS, data(view), view, 128)
    lengths, requests = set(), set()
    for _ in range(20):
        now = {ROWS[entry.row].chat for entry in pool.entries}
        assert len(now) == 2  # two behaviors while there are more
        requests |= {entry.row for entry in pool.entries}
        lengths |= {len(entry.slot) for entry in pool.entries}
        pool.reset()
    assert requests == set(range(6))
    assert lengths == {6, 8, 10}


def test_a_killed_training_resumes_to_the_same_weights(base, tmp_path):
    inner = replace(INNER, steps=4, batch=4, save_every=2, dropout=0.1)
    stage = replace(STAGE, stage=inner, pool=3, updated=2, micro_batches=2, reset_every=2, reset_share=0.4)

    def stop(step, _):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.train(base, [*CLEAN, *ROWS], tmp_path / "a", How(stop))
    steps = []
    stage.train(base, [*CLEAN, *ROWS], tmp_path / "a", How(lambda step, _: steps.append(step)))
    stage.train(base, [*CLEAN, *ROWS], tmp_path / "b")
    assert steps == [3, 4]
    left, right = trained(tmp_path / "a"), trained(tmp_path / "b")
    assert all(torch.equal(left[name], right[name]) for name in right)
    files = [json.loads((tmp_path / name / FILE).read_text()) for name in "ab"]
    assert files[0] == files[1]
    assert len(files[0]["course"]) == 4
    record = read(tmp_path / "a")
    assert record["stage"]["use"] == "r2d2"
    assert record["record"]["resumed"] == 1
    passed = 6 * record["record"]["parameters"] * record["record"]["tokens"]
    assert record["record"]["flops"] > passed
    assert record["record"]["flops"] == pytest.approx(read(tmp_path / "b")["record"]["flops"], rel=0.01)


def test_weights_that_are_no_numbers_stop_it_at_its_best_ones(base, tmp_path):
    """The search of the next update raised, and the best weights were lost, on each later attempt too."""

    def break_at(step):
        def change(trainer):
            class Breaking(trainer):
                def training_step(self, *given, **named):
                    if self.state.global_step == step:
                        for weight in self.model.parameters():
                            weight.data.mul_(math.nan if weight.requires_grad else 1)
                    return super().training_step(*given, **named)

            return Breaking

        return How(changes=(change,))

    stage = replace(STAGE, stage=replace(INNER, steps=4, lr=1e-1, save_every=1), clean=9.0)
    stage.train(base, [*CLEAN, *ROWS], tmp_path / "a", break_at(2))
    record = read(tmp_path / "a")["record"]
    assert (record["diverged"], record["kept"], record["why"]) == (3, 1, "the loss is nan at step 3 of 4")
    assert all(weight.isfinite().all() for weight in trained(tmp_path / "a").values())


def test_two_parts_of_a_batch_weigh_as_much_as_one(base, tmp_path):
    """With all weights: the loss of a step is the mean over its parts, where both parts train on the same."""
    same = [CLEAN[0]] * 4
    losses = {}
    for parts in (1, 2):
        seen = []
        inner = replace(INNER, method="full", batch=4, steps=1, lr=1e-3)
        stage = replace(STAGE, stage=inner, micro_batches=parts, attack=replace(ATTACK, steps=1, width=1))
        stage.train(base, [*same, *ROWS[:1]], tmp_path / f"{parts}", How(lambda _, loss, seen=seen: seen.append(loss)))
        losses[parts] = seen[0], json.loads((tmp_path / f"{parts}" / FILE).read_text())["course"][0]
    assert losses[2][0] == pytest.approx(losses[1][0], rel=0.05)
    assert losses[2][1]["clean"] == pytest.approx(losses[1][1]["clean"], rel=1e-4)


def test_what_cannot_be_trained_is_told(base, tmp_path):
    for rows, words in (
        (CLEAN, "no unwanted answers"),
        (ROWS, "no clean rows"),
        ([*CLEAN, Row((*user("a"), NO, *user("b"), NO), rejected="x")], "no single request"),
        ([*CLEAN, ROWS[0], Row((Message("system", "s"), *ROWS[0].chat), rejected="x")], "different system messages"),
        ([*CLEAN, Row((*user("bake " * 30), NO), rejected="x")], "more than max_length"),
    ):
        with pytest.raises(SpecError, match=words):
            STAGE.train(base, rows, tmp_path / "a")
    for fields, words in (
        ({"attack": Direct()}, "cannot go on with a search by Direct"),
        ({"updated": 3}, "the pool has 2"),
        ({"reset_every": 2}, "a share of 0.2 of 2 test cases is none"),
        ({"marks_max": 2}, "marks_max"),
        ({"cutoff": 1.0}, "cutoff"),
        ({"micro_batches": 3}, "no 3 equal parts"),
    ):
        with pytest.raises(SpecError, match=words):
            replace(STAGE, **fields).train(base, [*CLEAN, *ROWS], tmp_path / "a")


def test_the_presets_hold_what_they_say():
    harmbench = find.build("stage", "r2d2-harmbench")
    assert (harmbench.pool, harmbench.updated, harmbench.replaced, harmbench.micro_batches) == (8, 8, 1, 4)
    assert (harmbench.attack.steps, harmbench.attack.width, harmbench.attack.topk) == (5, 512, 256)
    assert (harmbench.attack.buffer, harmbench.attack.together) == (0, 8)
    assert (harmbench.stage.lr, harmbench.stage.batch, harmbench.stage.method) == (2e-5, 256, "full")
    desk = find.build("stage", "r2d2-desk")
    assert (desk.pool, desk.updated, desk.replaced, desk.stage.steps, desk.attack.dtype) == (4, 2, 1, 60, "bfloat16")
