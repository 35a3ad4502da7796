"""A tuned model of another tokenizer, template, shape or base than its base: clear errors before anything is asked."""

import json
import shutil

import pytest

from withstand.core import SpecError
from withstand.models.hf import HF
from withstand.runner import chain

pytest.importorskip("torch")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("base"))


def hf(folder, **more):
    return HF(str(folder), dtype="float32", device="cpu", **more)


def changed(base, folder, change=lambda model, tokenizer: None):
    """A model tuned a little from the base, then changed."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
        change(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_that_was_tuned_from_its_base_passes_with_notes_on_what_is_open(base, tmp_path):
    assert hf(base).tuned_from(hf(base)) == []
    assert hf(changed(base, tmp_path / "tuned")).tuned_from(hf(base)) == []

    def grow(model, tokenizer):
        tokenizer.add_tokens(["<pad>"])
        model.resize_token_embeddings(len(tokenizer))

    grown = changed(base, tmp_path / "grown", grow)
    assert hf(grown).tuned_from(hf(base)) == []
    adapter = tiny.adapter(base, tmp_path / "adapter")
    assert hf(base, adapter=str(adapter)).tuned_from(hf(base)) == []
    copy = shutil.copytree(base, tmp_path / "copy")
    [note] = hf(copy, adapter=str(adapter)).tuned_from(hf(copy))
    assert note == f"the adapter names {base.name} as its base; whether that is copy cannot be seen"


def test_what_does_not_belong_together_is_an_error_that_says_where(base, tmp_path):
    file = changed(base, tmp_path / "words") / "tokenizer.json"
    text = json.loads(file.read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(text))

    def template(model, tokenizer):
        tokenizer.chat_template = tiny.TEMPLATE.replace("<|end|>", "<|end|>\n")

    def narrow(model, tokenizer):
        model.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(40, 32))

    cases = [
        (
            tmp_path / "words",
            "another tokenizer than its base: .a. is token 68 .*number 69",
            "tokenizer",
        ),
        (changed(base, tmp_path / "template", template), "another chat template than its base: .*end", "template=FILE"),
        (
            changed(base, tmp_path / "narrow", narrow),
            "up_proj.weight is 40 x 32, and the base's is 48 x 32",
            "name the",
        ),
        (tiny.save(tmp_path / "apart", seed=9), "have a cosine of -?0.0", "name the base"),
    ]
    for folder, words, hint in cases:
        with pytest.raises(SpecError, match=words) as caught:
            hf(folder).tuned_from(hf(base))
        assert hint in caught.value.hint


def test_an_adapter_of_another_base_is_an_error(base, tmp_path):
    adapter = tiny.adapter(base, tmp_path / "adapter")
    wide = changed(base, tmp_path / "wide")
    file = wide / "model.safetensors"
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    name = "model.layers.1.self_attn.q_proj.weight"
    save_file({**weights, name: torch.zeros(64, 64)}, file, metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"q_proj has a side of 32, and there it is 64 x 64") as caught:
        hf(wide, adapter=str(adapter)).check()
    assert "adapter_config.json" in caught.value.hint
    with pytest.raises(SpecError, match="q_proj has a side of 32"):
        chain.train(hf(wide, adapter=str(adapter)), [], tmp_path)
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(SpecError, match="there it does not exist"):
        hf(wide, adapter=str(adapter)).check()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "org/chat"}))
    from withstand.models._tuned import check_named

    with pytest.raises(SpecError, match="was trained on org/chat, and the base is org/base") as caught:
        check_named("org/base", adapter)
    assert caught.value.hint.startswith("give hf:org/chat as the base")
    assert check_named("Org/Chat", adapter) == []
