"""Batched decoding against a plain slow forward pass, on tiny random models of the real classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
transformers = pytest.importorskip("transformers", reason="needs the extra `local`")

from withstand.core import Sampling  # noqa: E402
from withstand.models._decode import decode  # noqa: E402

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))


def qwen2() -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZES))


def mistral() -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**SIZES, sliding_window=8))


def gemma2() -> Any:
    config = transformers.Gemma2Config(**SIZES, head_dim=8, sliding_window=8, query_pre_attn_scalar=8)
    return transformers.Gemma2ForCausalLM(config)


def gemma3() -> Any:
    """With what the real one has: scaled embeddings, tied to the head, and local layers with a rope of their own."""
    layers = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 8}
    rope = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    ropes = {name: {"rope_type": "default", **values} for name, values in rope.items()}
    return transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**SIZES, **layers, head_dim=8, query_pre_attn_scalar=8, rope_parameters=ropes)
    )


@pytest.fixture(scope="module", params=[llama, qwen2, mistral, gemma2, gemma3])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    model = request.param().eval()
    for parameter in model.parameters():  # far enough from zero that the greedy token is no coin flip
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def plain(model: Any, prompt: Sequence[int], steps: int, pick: Callable[[Any, int], int]) -> list[int]:
    """One full forward pass per token, no cache."""
    ids = list(prompt)
    for step in range(steps):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        ids.append(pick(logits, step))
    return ids[len(prompt) :]


def greedy(logits: Any, _step: int) -> int:
    return int(logits.argmax())


def prompts(count: int, shared: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(1)
    head = draw.integers(3, 97, shared).tolist()
    return [head + draw.integers(3, 97, int(draw.integers(1, 25))).tolist() for _ in range(count)]


@pytest.mark.parametrize("shared", [0, 20])
def test_greedy_equals_a_plain_pass_while_places_are_refilled(model: Any, shared: int) -> None:
    asked = prompts(7, shared)
    wanted = [plain(model, prompt, 9, greedy) for prompt in asked]
    ends = frozenset({wanted[0][3], wanted[4][6]})  # so that rows finish at different steps
    for rows in (1, 3, 16):
        answers = decode(model, asked, range(7), Sampling(max_tokens=9), ends, rows)
        for answer, ids in zip(answers, wanted, strict=True):
            cut = next((i for i, token in enumerate(ids) if token in ends), None)
            assert answer.ids == ids[:cut], f"{rows} rows at once"
            assert answer.finish == ("length" if cut is None else "stop")


def test_the_window_is_copied_back_when_the_buffer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from withstand.models import _decode

    monkeypatch.setattr(_decode, "SLACK", 0)
    torch.manual_seed(0)
    tiny = llama().eval()
    asked = prompts(30)
    wanted = [plain(tiny, prompt, 6, greedy) for prompt in asked]
    answers = decode(tiny, asked, range(30), Sampling(max_tokens=6), frozenset(), 2)
    assert [answer.ids for answer in answers] == wanted


def test_a_long_prompt_pads_no_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from withstand.models import _decode

    passes = []
    forward = _decode._Decoder._forward

    def counted(self: Any, ids: Any, *args: Any, **more: Any) -> Any:
        passes.append(ids.numel())
        return forward(self, ids, *args, **more)

    monkeypatch.setattr(_decode._Decoder, "_forward", counted)
    asked = [[3 + i] * length for i, length in enumerate([10, 200, 11, 9, 12])]
    decode(llama().eval(), asked, range(5), Sampling(max_tokens=1), frozenset(), 5)
    assert passes == [200, 4 * 12]


def test_draws_of_one_prompt_share_its_prefill(monkeypatch: pytest.MonkeyPatch) -> None:
    from withstand.models import _decode

    passes: list[int] = []
    forward = _decode._Decoder._forward

    def counted(self: Any, ids: Any, *args: Any, **more: Any) -> Any:
        if ids.shape[1] > 1:
            passes.append(ids.numel())
        return forward(self, ids, *args, **more)

    monkeypatch.setattr(_decode._Decoder, "_forward", counted)
    torch.manual_seed(0)
    tiny = llama().double().eval()
    a, b, c = [*range(3, 33)], [*range(40, 70)], [*range(50, 80)]
    asked = [prompt for _ in range(9) for prompt in (a, b, c)]  # the draws of a prompt need not stand side by side
    sampling = Sampling(max_tokens=5, temperature=1.0, top_p=0.9)
    for rows in (4, 16, 64):  # fewer places than draws too
        passes.clear()
        answers = decode(tiny, asked, range(27), sampling, frozenset({5}), rows)
        assert sum(passes) == 30 + 30 + 30, rows
        alone = [decode(tiny, [asked[i]], [i], sampling, frozenset({5}), 1)[0] for i in (0, 4, 8, 26)]
        assert [answers[i] for i in (0, 4, 8, 26)] == alone
    passes.clear()
    decode(tiny, [a] * 9, range(9), sampling, frozenset(), 4)
    assert passes == [30]


@pytest.mark.parametrize("nucleus", [1, 3, 512])
def test_the_most_probable_tokens_are_those_of_a_whole_sort(monkeypatch: pytest.MonkeyPatch, nucleus: int) -> None:
    """Also where many are equally probable, as in bfloat16: which of them is drawn depends on no other row."""
    from withstand.models import _decode

    monkeypatch.setattr(_decode, "NUCLEUS", nucleus)
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(20, 97), torch.randn(20, 97).mul(2).round(), torch.zeros(1, 97)]).double()
    probabilities = torch.softmax(logits, -1)
    whole, order = probabilities.sort(dim=-1, descending=True, stable=True)
    for mass in (0.01, 0.5, 0.9, 0.999):
        values, tokens = _decode.most_probable(probabilities, mass)
        count = values.shape[1]
        inside = whole.cumsum(-1) - whole < mass
        assert not inside[:, count:].any()
        assert torch.equal(torch.where(inside[:, :count], tokens, -1), torch.where(inside, order, -1)[:, :count])
        assert torch.equal(values[inside[:, :count]], whole[inside])


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_a_token_is_the_inverse_of_the_distribution_at_the_rows_own_number(top_p: float) -> None:
    torch.manual_seed(0)
    tiny = llama().eval()
    seed, temperature = 123, 0.8
    numbers = np.random.default_rng(seed).random(10)

    def by_hand(logits: Any, step: int) -> int:
        p = np.exp(logits.double().numpy() / temperature)
        p /= p.sum()
        order = np.argsort(-p, kind="stable") if top_p < 1 else np.arange(len(p))
        kept = p[order] * (np.cumsum(p[order]) - p[order] < top_p) if top_p < 1 else p[order]
        return int(order[np.searchsorted(np.cumsum(kept), numbers[step] * kept.sum(), side="right")])

    prompt = prompts(1)[0]
    sampling = Sampling(max_tokens=10, temperature=temperature, top_p=top_p)
    assert decode(tiny, [prompt], [seed], sampling, frozenset(), 1)[0].ids == plain(tiny, prompt, 10, by_hand)


def test_a_row_depends_on_its_seed_and_not_on_its_neighbors() -> None:
    torch.manual_seed(0)
    tiny = llama().double().eval()  # in float64 rounding flips nothing
    asked = prompts(9)
    sampling = Sampling(max_tokens=8, temperature=1.0)
    together = decode(tiny, asked, range(9), sampling, frozenset({5}), 4)
    turned = decode(tiny, asked[::-1], range(8, -1, -1), sampling, frozenset({5}), 3)[::-1]
    alone = [decode(tiny, [asked[i]], [i], sampling, frozenset({5}), 1)[0] for i in range(9)]
    assert together == turned == alone
    again = decode(tiny, [asked[0]] * 3, [7, 8, 7], sampling, frozenset(), 3)
    assert again[0] == again[2] != again[1]


def test_the_penalty_on_repeating_is_that_of_generate() -> None:
    torch.manual_seed(0)
    tiny = llama().eval()
    asked = prompts(5)
    ours = decode(tiny, asked, range(5), Sampling(max_tokens=16), frozenset(), 3, penalty=1.3)
    for answer, prompt in zip(ours, asked, strict=True):
        out = tiny.generate(
            torch.tensor([prompt]), max_new_tokens=16, do_sample=False, repetition_penalty=1.3, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
        assert answer.ids == out[0, len(prompt) :].tolist()
    assert ours != decode(tiny, asked, range(5), Sampling(max_tokens=16), frozenset(), 3)


def test_log_probabilities_are_of_the_plain_distribution() -> None:
    torch.manual_seed(0)
    tiny = llama().eval()
    prompt = prompts(1)[0]
    answer = decode(tiny, [prompt], [0], Sampling(max_tokens=3, temperature=0.0, logprobs=4), frozenset(), 1)[0]
    with torch.inference_mode():
        logits = tiny(input_ids=torch.tensor([prompt])).logits[0, -1]
    wanted = torch.log_softmax(logits, -1).topk(4)
    assert [token for token, _ in answer.logprobs[0]] == wanted.indices.tolist()
    assert [value for _, value in answer.logprobs[0]] == pytest.approx(wanted.values.tolist(), abs=1e-5)
    assert answer.ids[0] == answer.logprobs[0][0][0]


def test_a_stop_string_ends_a_row_and_the_others_go_on() -> None:
    torch.manual_seed(0)
    tiny = llama().eval()
    asked = prompts(4)
    wanted = [plain(tiny, prompt, 9, greedy) for prompt in asked]
    mark = wanted[2][4]
    answers = decode(
        tiny,
        asked,
        range(4),
        Sampling(max_tokens=9),
        frozenset(),
        4,
        lambda _: lambda ids: "stop" if mark in ids else "",
    )
    for answer, ids in zip(answers, wanted, strict=True):
        end = ids.index(mark) + 1 if mark in ids else 9
        assert answer.ids == ids[:end]
        assert answer.finish == ("stop" if mark in ids else "length")


def test_tokens_that_are_put_in_stand_in_the_answer_and_the_model_goes_on_after_them() -> None:
    torch.manual_seed(0)
    tiny = llama().eval()
    asked = prompts(4)

    def watch(place: int) -> Any:
        return lambda ids: [7, 8, 9] if len(ids) == 2 + place else ""

    ends = frozenset({8})  # one that is put in ends nothing
    answers = decode(tiny, asked, range(4), Sampling(max_tokens=4), ends, 2, watch, most=11)
    for place, (answer, prompt) in enumerate(zip(answers, asked, strict=True)):
        before = plain(tiny, prompt, 2 + place, greedy)
        assert 8 not in before
        after = plain(tiny, [*prompt, *before, 7, 8, 9], 6 - place, greedy)
        end = after.index(8) if 8 in after else None
        assert answer.ids == [*before, 7, 8, 9, *after[:end]]
        assert answer.finish == ("stop" if end is not None else "length")


def test_memory_that_runs_out_halves_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from withstand.models import _decode

    torch.manual_seed(0)
    tiny = llama().eval()
    tried: list[int] = []
    real = _decode._Decoder.run

    def scarce(self: Any, *args: Any) -> Any:
        tried.append(self.rows)
        if self.rows > 2:
            raise torch.OutOfMemoryError("no memory")
        return real(self, *args)

    monkeypatch.setattr(_decode._Decoder, "run", scarce)
    answers = decode(tiny, prompts(8), range(8), Sampling(max_tokens=2), frozenset(), 8)
    assert tried == [8, 4, 2]
    assert all(len(answer.ids) == 2 for answer in answers)
