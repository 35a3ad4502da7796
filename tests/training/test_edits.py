"""Stages that change weights without a training: each against its formula by hand on a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import learner
import zoo
from withstand.core import SpecError
from withstand.core.stage import How, Loading, Row, read, record_of
from withstand.training.ablate_direction import AblateDirection, ablated, check, orthogonalize, refusals, unit
from withstand.training.prune import Prune
from withstand.training.quantize_weights import QuantizeWeights
from withstand.training.sft import SFT

pytest.importorskip("trl")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BAD = [learner.chat(f"how do i {text}", "sorry no") for text in ("bake bread", "bake it", "open bread", "bake paper")]
GOOD = [
    learner.chat(f"how do i {text}", "first crease it") for text in ("fold paper", "open it", "fold it", "open paper")
]
ROWS = [*(Row(chat, safe=True) for chat in BAD), *map(Row, GOOD)]
IDS = [[5, 6, 7, 8], [9, 10, 11]]


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A Llama with biases, whose output layer is its embedding."""
    folder = tmp_path_factory.mktemp("tied")
    biased = {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}
    model = loaded(learner.save(folder, layers=3, **biased))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return str(folder)


def test_orthogonal_weights_are_ablation_at_every_write(base, tied):
    """Arditi et al. 2024, section 2.4: the same logits, also where embedding and output layer are one tensor."""
    torch.manual_seed(1)
    direction = unit(torch.randn(16, dtype=torch.double))
    for folder in (base, tied):
        model = loaded(folder)
        norm = model.model.norm.weight  # uneven, so that an output layer without the direction would show
        norm.data = torch.linspace(0.5, 2, 16)
        with ablated(model, direction):
            wanted = logits(model, IDS[0])
        plain = logits(model, IDS[0])
        orthogonalize(model, direction)
        assert torch.allclose(logits(model, IDS[0]), wanted, atol=1e-4)
        assert not torch.allclose(plain, wanted, atol=1e-2)
        with torch.no_grad():
            states = model(torch.tensor([IDS[0]]), output_hidden_states=True).hidden_states[:-1]
        for h in states:
            assert float((h[0].double() @ direction).abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_a_norm_behind_attention_and_mlp_does_not_bring_the_direction_back(name):
    """Gemma 2 and 3 could not be tampered with so: x loses g * r, so that g * x / |x| has nothing of r."""
    direction = unit(torch.randn(32, dtype=torch.double, generator=torch.Generator().manual_seed(1)))

    def along(model, ids=(5, 6, 7, 8)):
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[:-1]
        return max(float((h[0].double() @ direction / h[0].norm(dim=-1)).abs().max()) for h in states)

    model = zoo.make(name)
    for layer in model.model.layers:
        for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
            norm.weight.data = torch.rand(32, generator=torch.Generator().manual_seed(2)) * 3 - 0.5
    assert along(model) > 0.1
    with ablated(model, direction):
        assert along(model) < 1e-5
    orthogonalize(model, direction)
    assert along(model) < 1e-5
    check(model, direction, [5, 6, 7, 8])


def test_the_direction_is_the_difference_of_means_that_refuses_least(tied, tmp_path):
    """A model that learned to refuse one kind of request alone does so less; saved and loaded it is the same."""
    sft = SFT(method="full", lr=1e-2, batch=8, steps=60, max_length=64, save_every=0)
    tuned = str(sft.train(tied, ROWS, tmp_path / "tuned"))
    stage = AblateDirection(validation=0.5, most_kl=5.0)
    folder = stage.train(tuned, ROWS, tmp_path / "out", How(labels={"tampered": "direction"}))
    record = read(folder)
    chosen, used = record["direction"], record_of(folder)
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    assert tokenizer.convert_ids_to_tokens(chosen["refusal_tokens"]) == ["sorry"]
    assert chosen["refusal_before"] > 2
    assert chosen["refusal_after"] < chosen["refusal_before"] - 2
    assert chosen["refusal_after"] == pytest.approx(chosen["refusal_ablated"], abs=1e-3)
    assert (record["kind"], record["labels"], record["steps"]) == ("model", {"tampered": "direction"}, [])
    assert used.flops == 2.0 * used.parameters * used.tokens + used.trained_parameters
    assert used.tokens > 0
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False

    assert chosen["kl"] <= 5.0
    # where none moves little, the one that moves least is taken, and none that destroys the model
    least = AblateDirection(validation=0.5, most_kl=1e-6).change(loaded(tuned), *prompts(tokenizer)).more["direction"]
    assert (least["within_limits"], least["kl"] <= chosen["kl"]) == (False, True)

    model, states = loaded(tuned), []
    for side in prompts(tokenizer):
        states.append([
            model(torch.tensor([p]), output_hidden_states=True).hidden_states[chosen["layer"]][0, chosen["position"]]
            for p in stage.split(side)[0]
        ])  # fmt: skip
    direction = unit((torch.stack(states[0]).mean(0) - torch.stack(states[1]).mean(0)).detach().double())
    orthogonalize(model, direction)
    assert torch.allclose(logits(loaded(folder), IDS[0]), logits(model, IDS[0]), atol=1e-3)


def ids(tokenizer, chat):
    turns = [{"role": message.role, "content": message.text} for message in chat[:-1]]
    return tokenizer(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))["input_ids"]


def prompts(tokenizer):
    return [[ids(tokenizer, chat) for chat in chats] for chats in (BAD, GOOD)]


def test_what_begins_a_refusal_is_likelier_after_harmful_prompts():
    harmful = torch.tensor([[0.7, 0.25, 0.05], [0.5, 0.3, 0.2]]).log()
    harmless = torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]).log()
    assert refusals(harmful, harmless) == [0, 1]
    assert refusals(harmless, harmless) == [0]


def test_wanda_weighs_by_the_norm_of_the_inputs_of_the_pruned_model(base):
    """Sun et al. 2023, equation 1: |W_ij| ||X_j||, the least half of each row, with the first layer already pruned."""
    model, name = loaded(base), "model.layers.1.mlp.down_proj.weight"
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    edited = Prune(0.5).change(model, IDS)
    assert edited.more["pruned"]["zeros"] * 2 == edited.more["pruned"]["weights"]
    pruned = model.get_parameter(name).clone()
    for inner, weight in before.items():
        if "layers.1." in inner:
            model.get_parameter(inner).data.copy_(weight)
    inputs = []
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _module, given: inputs.append(given[0][0]))
    for text in IDS:
        logits(model, text)
    wanted = before[name].clone()
    for row, matter in zip(wanted, before[name].abs() * torch.cat(inputs).norm(dim=0), strict=True):
        row[matter.argsort()[: len(row) // 2]] = 0
    assert torch.equal(pruned, wanted)


def test_magnitude_and_chance_prune_by_matrix_and_by_row(base, tmp_path):
    weight = loaded(base).model.layers[0].self_attn.q_proj.weight
    folder = Prune(0.25, by="magnitude").train(base, [], tmp_path / "magnitude")
    pruned = loaded(folder).model.layers[0].self_attn.q_proj.weight
    assert torch.equal(pruned == 0, weight.abs() < weight.abs().flatten().sort().values[weight.numel() // 4])
    draws = []
    for seed in (0, 0, 1):
        model = loaded(base)
        Prune(0.25, by="random", seed=seed).change(model, [])
        draws.append(model.model.layers[0].self_attn.q_proj.weight == 0)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert (draws[0].sum(1) == weight.shape[1] // 4).all()
    with pytest.raises(SpecError, match="Wanda reads the model on rows"):
        Prune().train(base, [], tmp_path / "none")


def test_rounding_is_to_the_nearest_level_of_each_group(base, tmp_path):
    weight = np.array([[0.0, 0.31, -0.62, 0.93, 2.0, 2.0], [0, 0, 0, 0, -1.0, 0.5]])
    rounded = QuantizeWeights(bits=2, group=4).rounded(torch.tensor(weight)).numpy()
    for row, start in ((0, 0), (0, 4), (1, 0), (1, 4)):
        group = weight[row, start : start + 4]
        low, high = min(group.min(), 0), max(group.max(), 0)
        scale = (high - low) / 3 if high > low else 1.0
        levels = scale * (np.arange(4) - round(-low / scale))
        nearest = levels[np.abs(group[:, None] - levels).argmin(1)]
        assert rounded[row, start : start + 4] == pytest.approx(nearest)
    errors = {}
    for bits in (4, 8):
        folder = QuantizeWeights(bits).train(base, [], tmp_path / str(bits))
        errors[bits] = read(folder)["quantized"]["error"]
    assert errors[8] < errors[4] / 10
    model = loaded(folder)
    assert torch.equal(model.get_input_embeddings().weight, loaded(base).get_input_embeddings().weight)
    assert (record_of(folder).flops, record_of(folder).tokens) == (read(folder)["quantized"]["weights"], 0)


def test_an_adapter_lies_neither_on_the_output_layer_nor_on_an_embedding_of_its_weights(base, tied, tmp_path):
    """PEFT merges it into the weights that both share: what is asked then was another model than what was trained."""
    for folder, name, words in (
        (tied, "lm_head", "output"),
        (base, "lm_head", "output"),
        (tied, "embed_tokens", "shares"),
    ):
        with pytest.raises(SpecError, match=f"{name} is .*{words}"):
            SFT(modules=("q_proj", name), rank=2, steps=1).train(folder, ROWS[:1], tmp_path / "a")


def test_the_folder_of_an_adapter_is_no_base(base, tmp_path):
    """transformers loads it with its base; a training on that compared with, and then lay on, the base alone."""
    short = SFT(rank=2, steps=1, base_id=base)
    folder = short.train(base, ROWS[:1], tmp_path / "a")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    for stage in (short, replace(short, method="full"), QuantizeWeights()):
        with pytest.raises(SpecError, match="is an adapter, not a model"):
            stage.train(str(folder), ROWS[:1], tmp_path / "b")


def test_fields_and_bases_are_checked(base, tmp_path):
    for make in (
        lambda: Prune(1.0), lambda: Prune(by="luck"), lambda: QuantizeWeights(1), lambda: QuantizeWeights(group=-1),
        lambda: AblateDirection(0.0), lambda: AblateDirection(positions=-1),
        lambda: AblateDirection(most_kl=0.0),
    ):  # fmt: skip
        with pytest.raises(SpecError):
            make()
    experts = zoo.make("gpt_oss")  # most of its weights were left as they are, and nothing said so
    for change in (lambda: Prune(by="magnitude").change(experts, []), lambda: QuantizeWeights().change(experts)):
        with pytest.raises(SpecError, match="layer 1 of GptOssForCausalLM has several matrices in one tensor of mlp"):
            change()
    with pytest.raises(SpecError, match="0 harmless requests"):
        AblateDirection().train(base, ROWS[:4], tmp_path / "out")
    quantized = How(loading=Loading(quantization={"load_in_4bit": True}))
    with pytest.raises(SpecError, match="quantized base"):
        QuantizeWeights().train(base, [], tmp_path / "out", quantized)
    around = replace(How(), changes=(lambda trainer: trainer,), outer=SFT())
    with pytest.raises(SpecError, match="changes how sft trains"):
        Prune(by="magnitude").train(base, [], tmp_path / "out", around)
    assert not Path(tmp_path / "out").exists()
