"""SFT on a tiny random Llama: what the loss sees, what is saved, what is refused."""

import builtins
import json
from dataclasses import replace

import pytest

import tiny
from learner import ROWS, chat
from withstand.core import Message, SpecError, WithstandError, stage
from withstand.core.stage import How
from withstand.training._model import tokenizer_of
from withstand.training.sft import FILES, SFT, tokenized

pytest.importorskip("trl")
pytest.importorskip("datasets")
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TINY = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, max_length=32, log_every=1)


def weights(folder):
    return load_file(folder / FILES[0])


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_is_that_of_the_last_answer_and_its_end_alone(base):
    trainer = TINY._trainer(base, ROWS)
    seen = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        learned = batch["labels"][0][batch["labels"][0] != -100]
        assert torch.equal(learned, batch["input_ids"][0][-len(learned) :])  # a tail of the chat
        seen.append(trainer.processing_class.decode(learned))
    assert seen == ["sorry no <|im_end|>", "first crease it then open it <|im_end|>", "sorry no no <|im_end|>"]


def test_an_answer_that_goes_on_is_learned_from_there(base):
    opened = (*ROWS[1][:1], Message("assistant", "first crease it "), Message("assistant", "then open it"))
    trainer = TINY._trainer(base, [opened, ROWS[1]])
    row, plain = (trainer.data_collator([row]) for row in trainer.train_dataset)
    assert torch.equal(row["input_ids"], plain["input_ids"])
    learned = row["labels"][0][row["labels"][0] != -100]
    assert trainer.processing_class.decode(learned) == "then open it <|im_end|>"


def test_a_prompt_that_opens_the_thinking_is_gone_on_from(tmp_path):
    """As DeepSeek-R1's template, which opens a block for the model and leaves the block out of answers."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<|user|>{{ m['content'] }}{% else %}"
        "<|assistant|>{{ m['content'].split('</think>')[-1].strip() }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
    )
    tokenizer = tokenizer_of(str(tiny.save(tmp_path, template=template)))
    for answer, thought in (("No.", ""), ("<think>\nHm.\n</think>\n\nNo.", "Hm.")):
        row = tokenized(tokenizer, chat("bake", answer))
        text = tokenizer.decode(row["input_ids"])
        assert text == f"<|user|>bake<|assistant|><think>\n{thought}\n</think>\n\nNo.<|end|>"
        learned = [i for i, kept in zip(row["input_ids"], row["completion_mask"], strict=True) if kept]
        assert tokenizer.decode(learned[row["lead"] :]) == "No.<|end|>"


def test_chats_of_a_batch_do_not_see_each_other(base):
    """They lie end to end, so it takes the right mask for a batch to give each chat the loss it has alone."""
    trainer = TINY._trainer(base, ROWS)

    def loss(rows):
        with torch.no_grad():
            return trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item()

    rows, sizes = list(trainer.train_dataset), [3, 7, 4]
    alone = sum(size * loss([row]) for row, size in zip(rows, sizes, strict=True)) / sum(sizes)
    assert loss(rows) == pytest.approx(alone, abs=1e-5)
    assert loss(rows[::-1]) == pytest.approx(alone, abs=1e-5)


def test_the_adapter_is_saved_small_clean_and_loads(base, tmp_path, capfd):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "README.md").write_text("a model card")
    steps = []
    assert TINY.train(base, ROWS, folder, How(lambda step, loss: steps.append((step, loss)))) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", *sorted(FILES), "stage.json"]
    assert (folder / "README.md").read_text() == "a model card"
    assert {weight.dtype for weight in weights(folder).values()} == {torch.float16}
    config = json.loads((folder / FILES[1]).read_text())
    assert config["base_model_name_or_path"] == base.rpartition("/")[2]
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len({name.rpartition(".")[2] for name in config["target_modules"]}) == 7  # every linear layer but the output
    assert str(tmp_path.parent) not in (folder / FILES[1]).read_text()
    assert [step for step, _ in steps] == [1, 2, 3]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    ids = torch.tensor([[1, 4, 6, 7, 8]])
    with torch.no_grad(), model.disable_adapter():
        plain = model(ids).logits
    assert not torch.equal(model(ids).logits, plain)
    assert not any(word in capfd.readouterr().out for word in ("loss", "%"))


def test_it_learns(base, tmp_path):
    losses = []
    SFT(rank=8, lr=5e-2, batch=3, steps=12, max_length=32, log_every=1).train(
        base, ROWS, tmp_path / "a", How(lambda _, loss: losses.append(loss))
    )
    assert losses[-1] < losses[0] - 0.5


def test_the_default_rate_is_that_of_the_literature_for_the_size(base, tmp_path):
    rates = {
        (way.method, size): way.sized(size).lr for way in (SFT(), SFT(method="full")) for size in (135e6, 8e9, 70e9)
    }
    assert list(rates.values()) == [2e-4, 2e-4, 1e-4, 2e-5, 2e-5, 1e-5]
    assert replace(SFT(), lr=1e-3).sized(70e9).lr == 1e-3
    replace(TINY, lr=0.0, steps=1).train(base, ROWS, tmp_path / "a")
    assert stage.record_of(tmp_path / "a").lr == 2e-4


def test_same_seed_same_adapter(base, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, seed=seed, dropout=0.1).train(base, ROWS, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert (tmp_path / "a" / FILES[1]).read_bytes() == (tmp_path / "b" / FILES[1]).read_bytes()
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_choice_of_layers_half_precision_and_a_public_name(base, tmp_path):
    SFT(modules=("q_proj", "v_proj"), rank=2, steps=1, dtype="bfloat16", base_id="someone/tiny").train(
        base, ROWS, tmp_path / "a"
    )
    config = json.loads((tmp_path / "a" / FILES[1]).read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["base_model_name_or_path"] == "someone/tiny"
    assert {weight.dtype for weight in weights(tmp_path / "a").values()} == {torch.float16}


def test_all_weights_train_in_float32_and_multiply_in_bfloat16(base, tmp_path):
    before = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    SFT(method="full", lr=1e-5, steps=2, batch=2, dtype="bfloat16").train(base, ROWS, tmp_path / "full")
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "full").state_dict()
    moved = after["model.layers.0.self_attn.q_proj.weight"] - before["model.layers.0.self_attn.q_proj.weight"]
    assert after["lm_head.weight"].dtype == torch.float32
    assert 0 < moved.abs().max() < 3e-5  # two updates of 1e-5, which bfloat16 would have rounded away


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows"),
        ([ROWS[0], ()], "row 2 does not end with an assistant message"),
        ([ROWS[0], (Message("user", "how"),)], "row 2 does not end with an assistant message"),
        ([(Message("assistant", "no"),)], "row 1 does not end"),
        ([ROWS[0], ROWS[1], chat("how", " ")], "row 3 has an empty assistant message"),
        ([chat("", "no")], "row 1 has an empty user message"),
        ([(Message("user", "how", ("a.png",)), Message("assistant", "no"))], "row 1 has images"),
        ([ROWS[0], chat("how do i fold " + "paper " * 40, "no")], "row 2 has 51 tokens, more than max_length 32"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(base, tmp_path, rows, words):
    with pytest.raises(SpecError, match=words) as caught:
        TINY.train(base, rows, tmp_path / "a")
    assert caught.value.hint
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_not_a_number_stops_and_saves_nothing(base, tmp_path):
    from transformers import AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "broken")
    with pytest.raises(WithstandError, match=r"loss is nan at step 1 of 3") as caught:
        TINY.train(str(tmp_path / "broken"), ROWS, tmp_path / "a")
    assert "lr" in caught.value.hint
    assert not (tmp_path / "a").exists()


def test_a_missing_extra_names_its_install_line(base, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_trl(name, *rest):
        if name.split(".")[0] == "trl":
            raise ModuleNotFoundError("No module named 'trl'", name="trl")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_trl)
    with pytest.raises(SpecError, match="needs trl") as caught:
        TINY.train(base, ROWS, tmp_path / "a")
    assert caught.value.hint == 'pip install "withstand[train]"'


@pytest.mark.parametrize(
    "fields",
    [
        {"rank": 0}, {"alpha": 0}, {"batch": 0}, {"steps": -1}, {"seed": -1}, {"max_length": 1}, {"log_every": 0},
        {"lr": -1.0}, {"lr": float("nan")}, {"epochs": 0.0}, {"epochs": float("inf")}, {"warmup": 1.0},
        {"dropout": -0.1}, {"modules": ()}, {"modules": ("",)}, {"dtype": "float64"},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(fields):
    with pytest.raises(SpecError, match=next(iter(fields))):
        SFT(**fields)
