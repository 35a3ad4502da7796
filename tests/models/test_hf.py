"""The hf target on a tiny model of the real classes: what it renders, what is in its key, what it refuses."""

import importlib.metadata
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

import tiny
import withstand
from withstand.core import AskError, Chat, Completion, Message, Sampling, SpecError, answered, digest, user
from withstand.models import _device, _folder, _quantized, hf
from withstand.models._thinking import Tags, Watch
from withstand.models.hf import HF
from withstand.registry import find
from withstand.runner import begin
from withstand.runner.estimate import estimate
from withstand.runner.spec import run_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hf._LOADED.clear()
    hf._IDENTITIES.clear()


def model(folder: Path, **fields: object) -> HF:
    return HF(str(folder), dtype="float32", **fields)  # type: ignore[arg-type]


def test_the_template_is_the_tokenizers_own(folder: Path, tmp_path: Path) -> None:
    assert model(folder).render(user("Hi")) == "<|user|>Hi<|end|><|assistant|>"
    prefill: Chat = (*user("Hi"), Message("assistant", "Sure"))
    assert model(folder).render(prefill) == "<|user|>Hi<|end|><|assistant|>Sure"
    assert model(folder, system="Be kind").render(user("Hi")).startswith("<|system|>Be kind<|end|><|user|>Hi")
    own: Chat = (Message("system", "Mine"), *user("Hi"))
    assert "Be kind" not in model(folder, system="Be kind").render(own)
    assert "[no thinking]" in model(folder, thinking=False).render(user("Hi"))
    assert "[1 May 2026]" in model(folder, date="1 May 2026").render(user("Hi"))
    (tmp_path / "t.jinja").write_text("{% for m in messages %}({{ m['content'] }}){% endfor %}")
    assert model(folder, template=str(tmp_path / "t.jinja")).render(user("Hi")) == "(Hi)"


@pytest.mark.parametrize("start", ["<s>", ""])
@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_without_a_template_a_text_has_the_ids_it_has_alone(folder: Path, start: str, scheme: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "\u2581", "[", "I", "]", "a", "\u2581[", "\u2581a", "\u2581I"]
    merges = [("\u2581", letter) for letter in "[aI"]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    if start:
        inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")
    tokenizer.chat_template = _folder.bare_template(tokenizer)
    for text in ("[I] a I", "a {{ I }} 'a'"):
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        assert rendered.startswith(start)
        assert rendered.endswith(text)
        assert tokenizer(rendered, add_special_tokens=False)["input_ids"] == tokenizer(text)["input_ids"]

    bare = model(folder, template="none")
    bare.check()
    assert bare.render(user("Hi")) == "Hi"
    assert bare.render((*user("Hi "), Message("assistant", "there"))) == "Hi there"
    assert "raw" in bare.gives
    assert "raw" not in model(folder).gives | model(folder, template="none", system="Be kind.").gives


def test_a_prefill_is_continued_and_text_is_the_continuation_alone(folder: Path) -> None:
    target = model(folder)
    wholes = target.generate([user(letter) for letter in "abcdefghijkl"], Sampling(max_tokens=6), range(12))
    whole = next(w for w in wholes if len(w.text) == 6)  # no special token among the six
    prefill: Chat = (*whole.chat, Message("assistant", whole.text[:1]))
    [rest] = target.generate([prefill], Sampling(max_tokens=5), [0])
    assert rest.text == whole.text[1:]
    assert (whole.finish, whole.answer_tokens, whole.prompt_tokens) == ("length", 6, 4)


def test_rows_are_the_same_alone_and_together(folder: Path) -> None:
    chats = [user("a" * n) for n in range(1, 12)]
    sampling = Sampling(max_tokens=10, temperature=1.0)
    together = model(folder).generate(chats, sampling, range(11))
    alone = [model(folder, width=1).generate([chat], sampling, [i])[0] for i, chat in enumerate(chats)]
    assert [c.text for c in together] == [c.text for c in alone]


def test_the_key_holds_content_and_no_path(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    assert model(folder).identity() == model(copy).identity()
    assert str(folder) not in str(model(folder).identity())
    reseeded = tiny.save(tmp_path / "other", seed=5)
    assert model(reseeded).identity()["weights"] != model(folder).identity()["weights"]
    assert model(reseeded).identity()["tokenizer"] == model(folder).identity()["tokenizer"]
    adapted = model(folder, adapter=str(tiny.adapter(folder, tmp_path / "adapter")))
    assert adapted.identity()["adapter"] != ""
    sampling = Sampling(max_tokens=8)
    assert (
        adapted.generate([user("Hi")], sampling, [0])[0].text
        != model(folder).generate([user("Hi")], sampling, [0])[0].text
    )
    described = find.describe(model(folder, width=3, rows=2, device="cpu"))
    assert described == find.describe(model(folder))


def test_dtype_auto_is_measured_once_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([1.0, 0.5])
    monkeypatch.setattr(_device, "_matmul_seconds", lambda dtype: next(seconds))
    assert HF(str(folder)).identity()["dtype"] == "bfloat16"
    hf._IDENTITIES.clear()
    assert HF(str(folder)).identity()["dtype"] == "bfloat16"  # a third measurement would raise StopIteration


@pytest.mark.parametrize(
    ("chat", "sampling", "message"),
    [
        ((Message("tool", "x"),), Sampling(max_tokens=2), "no tool"),
        ((Message("user", "x", images=("a.png",)),), Sampling(max_tokens=2), "images"),
        (user("x" * 300), Sampling(max_tokens=2), "window of 256"),
        (user("x"), Sampling(max_tokens=300), "window of 256"),
    ],
)
def test_what_cannot_be_asked_is_said(folder: Path, chat: Chat, sampling: Sampling, message: str) -> None:
    answers = model(folder).generate([user("x"), chat], replace(sampling, max_tokens=2), [0, 0])
    if sampling.max_tokens == 2:
        assert isinstance(answers[0], Completion)  # its neighbor is answered
    else:
        answers = model(folder).generate([chat], sampling, [0])
    assert isinstance(answers[-1], AskError)
    assert message in str(answers[-1])
    with pytest.raises(AskError, match=message):
        answered(answers)


def test_what_cannot_be_loaded_is_said_before_anything_is_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be downloaded from the hub") as caught:
        HF("nobody/nothing").check()
    assert "folder of a copy" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"holds no \*.safetensors"):
        HF(str(tmp_path / "empty")).check()
    with pytest.raises(SpecError, match="cannot read the template"):
        model(folder, template=str(tmp_path / "no.jinja")).check()
    bare = tiny.save(tmp_path / "bare", template=None)
    with pytest.raises(SpecError, match="no chat template"):
        model(bare).generate([user("Hi")], Sampling(), [0])


THINKS = tiny.TEMPLATE.replace("{%- if date", "{# <think></think> #}{%- if date")
OPENS = THINKS.replace("'<|assistant|>' }}{% endif %}", "'<|assistant|><think>\\n' }}{% endif %}")


def thinker(folder: Path, tmp_path: Path, template: str = THINKS, **fields: object) -> HF:
    file = tmp_path / f"{digest(template)}.jinja"
    file.write_text(template)
    return model(folder, template=str(file), **fields)


def test_thinking_is_kept_apart(folder: Path) -> None:
    target = model(folder)
    tokenizer = target.load().tokenizer

    def read(text: str, rendered: str = "") -> tuple[str, str]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        completion = target.read(user("Hi"), ids, (), rendered)
        assert completion.answer_tokens + completion.reasoning_tokens == len(ids)
        return completion.text, completion.reasoning

    assert read("<think>hm</think>\nYes") == ("Yes", "hm")
    assert read("hm</think>Yes") == ("Yes", "hm")  # a template that opens the block in the prompt
    assert read("<think>hm, wait") == ("", "hm, wait")
    assert read("Yes") == ("Yes", "")
    assert read("hm, wait", "<|user|>Hi<|assistant|><think>\n") == ("", "hm, wait")
    assert read("hm</think> Yes", "<think>\n") == ("Yes", "hm")
    assert read("Yes<|end|>") == ("Yes", "")
    stopped = target.read((), tokenizer("<think>a. b</think>c. d", add_special_tokens=False)["input_ids"], (".",))
    assert (stopped.reasoning, stopped.text) == ("a. b", "c")  # a stop string is one of the answer


def test_tags_may_hold_special_tokens(folder: Path) -> None:
    target = model(folder, think_open="<|system|>analysis", think_close="<|end|><|assistant|>final")
    loaded = target.load()
    ids = loaded.tokenizer("<|system|>analysis hm<|end|><|assistant|>final Yes<|user|>", add_special_tokens=False)
    completion = target.read(user("Hi"), ids["input_ids"])
    assert (completion.reasoning, completion.text) == ("hm", "Yes")
    plain = model(folder).load()
    assert plain.read(ids["input_ids"]) == plain.tokenizer.decode(ids["input_ids"], skip_special_tokens=True)


def test_an_answer_cut_in_thinking_that_the_prompt_opened_is_unscored(folder: Path, tmp_path: Path) -> None:
    target = thinker(folder, tmp_path, OPENS)
    assert target.render(user("Hi")).endswith("<|assistant|><think>\n")
    answers = target.generate([user(letter) for letter in "abcdefgh"], Sampling(max_tokens=6), range(8))
    cut = [answer for answer in answers if answer.finish == "length"]
    assert cut
    assert all(answer.reasoning and not answer.text for answer in cut)
    assert all((answer.answer_tokens, answer.reasoning_tokens) == (0, 6) for answer in cut)
    run = withstand.run(
        {
            "suite": "kitchen", "limit": 3, "benign": "none", "attack": "direct", "sampling": {"max_tokens": 4},
            "target": {"use": "hf", "id": str(folder), "dtype": "float32", "template": target.template},
        },
        store=tmp_path / "cut.db",
    )  # fmt: skip
    assert run.cells[0]["unscored"] >= 1
    assert run.cells[0]["unscored"] == sum(case["completion"] == "" for case in run.cases())


def test_thinking_has_a_budget_and_the_answer_its_own(folder: Path, tmp_path: Path) -> None:
    chats = [user(letter * n) for n, letter in enumerate("abcdefghijkl", 1)]
    free = thinker(folder, tmp_path, OPENS).generate(chats, Sampling(max_tokens=5), range(12))
    capped = thinker(folder, tmp_path, OPENS, reasoning_tokens=5).generate(chats, Sampling(max_tokens=3), range(12))
    full = [n for n, answer in enumerate(free) if answer.finish == "length" and len(answer.reasoning) == 5]
    assert len(full) > 3  # with no special token or white space at the rim among their five: their text is their tokens
    plain = model(folder, template="none")
    for n in full:
        assert capped[n].reasoning == free[n].reasoning
        prompt = f"<|user|>{chats[n][0].text}<|end|><|assistant|><think>\n{free[n].reasoning}\n</think>\n\n"
        [after] = plain.generate([user(prompt)], Sampling(max_tokens=3), [0])
        assert capped[n].text == after.text.lstrip()
        assert capped[n].finish == after.finish
        assert capped[n].reasoning_tokens + capped[n].answer_tokens == 5 + len("\n</think>\n\n") + after.answer_tokens


def test_the_watch_counts_thinking_and_answer_apart() -> None:
    def ends(text: str, opened: bool = False, budget: int = 0, most: int = 9, stop: tuple[str, ...] = ()) -> str:
        """The answer as it ends, a character a token; what is put in stands in brackets."""
        watch = Watch(
            lambda ids: "".join(map(chr, ids)), Sampling(max_tokens=most, stop=stop), Tags(), opened, budget, [36, 36]
        )
        ids: list[int] = []
        for letter in text:
            ids.append(ord(letter))
            decision = watch(ids)
            if isinstance(decision, list):
                ids += decision[:1]
                assert watch(ids) == ""
                ids += decision[1:]
                decision = watch(ids)
            if decision:
                return f"{''.join(map(chr, ids))}|{decision}"
        return "".join(map(chr, ids))

    assert ends("abcdefghijkl", most=4) == "abcd|length"
    assert ends("abcdefghijkl", most=4, budget=3) == "abcd|length"  # it does not think
    assert ends("abcdefghijkl", opened=True, most=4) == "abcd|length"  # one cap for both
    assert ends("abcdefghijkl", opened=True, most=4, budget=3) == "abc$$defg|length"
    assert ends(" <think>abcdefghijkl", most=4, budget=3) == " <think>abc$$defg|length"
    assert ends("<think>a</think>bcdefg", most=4, budget=20) == "<think>a</think>bcde|length"
    assert ends("a.b</think>\n\nc.d", opened=True, most=40, stop=(".",)) == "a.b</think>\n\nc.|stop"
    assert ends("a</think>\n\nc\n\nd", opened=True, most=40, stop=("\n\n",)) == "a</think>\n\nc\n\n|stop"
    assert ends("<th.", stop=(".",)) == "<th.|stop"


def test_a_prefix_goes_after_a_closed_block(folder: Path, tmp_path: Path) -> None:
    prefill: Chat = (*user("Hi"), Message("assistant", "Sure, "))
    asked = "<|user|>Hi<|end|><|assistant|>"
    assert thinker(folder, tmp_path).render(prefill) == f"{asked}<think>\n\n</think>\n\nSure, "
    assert thinker(folder, tmp_path, OPENS).render(prefill) == f"{asked}<think>\n\n</think>\n\nSure, "
    own = THINKS.replace(
        "'|>' + message['content']",
        "'|>' + ('<think></think>' if message['role'] == 'assistant' else '') + message['content']",
    )
    assert thinker(folder, tmp_path, own).render(prefill) == f"{asked}<think></think>Sure, "  # the template's own
    assert model(folder).render(prefill) == f"{asked}Sure, "
    assert model(folder, think_close="[/T]", think_open="[T]").render(prefill) == f"{asked}[T][/T]Sure, "


def test_more_is_passed_to_the_template(folder: Path, tmp_path: Path) -> None:
    template = "{{ reasoning_effort }}|{{ enable_thinking }}"
    target = thinker(folder, tmp_path, template, thinking=True, template_kwargs='{"reasoning_effort": "low"}')
    assert target.render(user("Hi")) == "low|True"
    built = find.build("target", f'hf:{folder},template_kwargs=\'{{"reasoning_effort": "low"}}\'')
    assert built.template_kwargs == '{"reasoning_effort": "low"}'
    for wrong in ("[1]", "{", "low"):
        with pytest.raises(SpecError, match="template_kwargs is"):
            model(folder, template_kwargs=wrong)
    for fields in ({"reasoning_tokens": -1}, {"think_close": " "}):
        with pytest.raises(SpecError):
            model(folder, **fields)


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


def packed(folder: Path, to: Path, settings: dict[str, object]) -> Path:
    """A copy of the folder whose config says that its weights are quantized."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return to


@pytest.fixture
def quantizers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Stand-ins for transformers' quantizers, whose libraries are not here: by method, an object or an exception."""
    from transformers.quantizers.auto import AutoHfQuantizer

    methods: dict[str, object] = {}

    def from_config(settings: dict[str, str], **_: object) -> object:
        quantizer = methods[settings["quant_method"]]
        if isinstance(quantizer, Exception):
            raise quantizer
        return quantizer

    monkeypatch.setattr(AutoHfQuantizer, "from_config", from_config)
    _quantized.quantized.cache_clear()
    yield methods
    _quantized.quantized.cache_clear()


def stand_in(trainable: bool, dequantize: bool = False) -> object:
    return SimpleNamespace(
        is_trainable=trainable,
        quantization_config=SimpleNamespace(dequantize=dequantize),
        validate_environment=lambda device_map: None,
    )


def test_quantized_weights_without_gradients_are_refused_before_they_are_loaded(
    folder: Path, tmp_path: Path, quantizers: dict[str, object]
) -> None:
    quantizers["gptq"] = stand_in(trainable=False)
    target = packed(folder, tmp_path / "packed", GPTQ)
    assert {"weights", "prefill"} < model(target).gives
    assert "gradients" not in model(target).gives
    spec = {
        "suite": "kitchen", "limit": 1, "benign": "none", "attack": "gcg",
        "target": {"use": "hf", "id": str(target), "dtype": "float32"},
    }  # fmt: skip
    with pytest.raises(SpecError, match=r"gcg needs gradients, which hf:.* does not give") as caught:
        withstand.run(spec, store=tmp_path / "q.db")
    assert "bitsandbytes" in caught.value.hint
    assert "--cases-from" in caught.value.hint
    with pytest.raises(SpecError, match="gcg needs weights"):  # not gradients, of an API
        withstand.run(spec | {"target": "scripted"}, store=tmp_path / "q.db")
    with pytest.raises(SpecError, match="surrogate have no backward pass"):
        find.build("attack", {"use": "gcg_multi", "surrogates": [spec["target"]]})
    assert not hf._LOADED
    for kind in (stand_in(trainable=True), stand_in(trainable=False, dequantize=True)):
        _quantized.quantized.cache_clear()
        quantizers["gptq"] = kind
        assert "gradients" in model(target).gives


def test_a_quantization_that_cannot_be_loaded_says_why(
    folder: Path, tmp_path: Path, quantizers: dict[str, object]
) -> None:
    target = packed(folder, tmp_path / "packed", GPTQ)
    for error, message, hint in (
        (
            ImportError("Loading needs optimum (`pip install optimum`)"),
            "cannot be loaded on this machine: Loading",
            "pip install optimum",
        ),
        (importlib.metadata.PackageNotFoundError("gptqmodel"), "quantized by gptq", "pip install gptqmodel, or use"),
        (RuntimeError("GPU is required\nto run"), "GPU is required to run", "use the unquantized weights"),
    ):
        _quantized.quantized.cache_clear()
        quantizers["gptq"] = error
        assert "gradients" in model(target).gives  # what is in the way, `check` says
        with pytest.raises(SpecError, match=message) as caught:
            model(target).check()
        assert caught.value.hint.startswith(hint)
    _quantized.quantized.cache_clear()
    quantizers["gptq"] = stand_in(trainable=True)
    adapted = model(target, adapter=str(tiny.adapter(folder, tmp_path / "adapter")))
    adapted.check()  # laid over the weights


def test_an_unknown_quantization_is_an_error_of_the_spec(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="quantized by exl9"):
        model(packed(folder, tmp_path / "packed", {"quant_method": "exl9"})).check()


@pytest.mark.parametrize(("quantize", "near"), [("int8", 0.2), ("int4", 1.0)])
def test_weights_are_quantized_while_they_are_loaded(folder: Path, quantize: str, near: float) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra `quantized`")
    target, plain = model(folder, quantize=quantize), model(folder)
    assert {"weights", "gradients"} < target.gives
    assert target.footprint()["weights"] < plain.footprint()["weights"]
    ids = torch.tensor([plain.load().tokenizer("<|user|>Hi<|end|><|assistant|>")["input_ids"]])
    theirs = plain.load().model(ids).logits
    ours = target.load().model(ids).logits
    assert ours.isfinite().all()
    assert 0 < (ours - theirs).abs().mean() < near * theirs.abs().mean()
    assert find.describe(target) != find.describe(plain)


def test_memory_is_that_of_the_loaded_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = model(folder)
    before = target.footprint()
    parameters = list(target.load().model.parameters())
    assert before["weights"] * 2**30 == sum(p.numel() * p.element_size() for p in parameters)
    assert (
        before["row"] * 2**30 == 2 * 2 * 2 * 8 * 4 * 1024
    )  # keys and values, layers, heads, dimension, float32, tokens
    assert target.footprint()["weights"] == 0  # it is there
    assert model(folder, quantize="").footprint()["weights"] == 0
    half = HF(str(folder), dtype="bfloat16").footprint()
    assert (half["weights"], half["row"]) == (before["weights"] / 2, before["row"] / 2)
    monkeypatch.setattr(hf, "free_memory", lambda device: None)
    assert target.footprint()["free"] is None


def test_what_cannot_fit_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = {"use": "hf", "id": str(folder), "dtype": "float32"}
    spec = {
        "suite": "kitchen", "limit": 2, "benign": "none", "attack": "direct", "sampling": {"max_tokens": 3},
        "target": target, "judge": {"use": "llm", "model": target | {"system": "Judge."}},
    }  # fmt: skip
    footprint = model(folder).footprint()
    room = footprint["weights"] + footprint["row"]
    monkeypatch.setattr(hf, "free_memory", lambda device: int(room * 2**30))
    plan = begin.planned(run_spec(spec), None)
    memory = estimate(plan, None)["memory"]
    assert [[role.partition(":")[0] for role in entry["roles"]] for entry in memory] == [["target hf"], ["judge llm"]]
    assert {entry["place"] for entry in memory} == {"cpu"}
    first = withstand.run(spec, store=tmp_path / "fits.db")  # the judge comes when the target is gone
    hf._LOADED.clear()
    twice = spec | {"until_success": True}  # the judge is asked while the target attacks
    with pytest.raises(SpecError, match=r"cpu cannot hold .* GiB for target hf:.* GiB for attack direct") as caught:
        withstand.run(twice, store=tmp_path / "not.db")
    assert "quantize=int4" in caught.value.hint
    with pytest.raises(SpecError, match="cannot hold"):
        estimate(begin.planned(run_spec(twice), None), None)
    monkeypatch.setattr(hf, "free_memory", lambda device: 0)
    assert withstand.run(spec, store=tmp_path / "fits.db").cells == first.cells  # nothing is left to load


def test_models_on_two_devices_answer_at_once_and_on_one_in_turn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HF("x", device="cuda").place == HF("x", device="cuda:0").place == "cuda:0"
    busy, most, lock = [0], [0], threading.Lock()
    both = threading.Barrier(2)

    def generate(self: HF, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        if self.device == "cpu:0" or meet[0]:
            both.wait(timeout=60)  # breaks unless the other device's model is asked at the same time
        time.sleep(0.05)
        with lock:
            busy[0] -= 1
        return [Completion(chat, "no") for chat in chats]

    monkeypatch.setattr(HF, "generate", generate)
    meet = [True]

    def run(devices: tuple[str, str], name: str) -> int:
        targets = [
            {"use": "hf", "id": str(folder), "dtype": "float32", "system": device, "device": device}
            for device in devices
        ]
        targets[1]["system"] += "!"
        spec = {"suite": "kitchen", "limit": 3, "benign": "none", "attack": "direct", "target": targets}
        most[0] = 0
        assert [cell["error"] for cell in withstand.run(spec, store=tmp_path / name).cells] == [0, 0]
        return most[0]

    assert run(("cpu", "cpu:0"), "two.db") == 2
    meet[0] = False
    assert run(("cpu", "cpu"), "one.db") == 1


def test_equal_models_are_loaded_once_whatever_their_device_is_called(folder: Path) -> None:
    assert model(folder).load() is model(folder, device="cpu").load()
    model(folder, device="cpu").release()
    assert not hf._LOADED


def test_attacker_judge_and_target_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    load = hf._load
    monkeypatch.setattr(hf, "_load", lambda spec: loaded.append(spec) or load(spec))
    model = {"use": "hf", "id": str(tiny.save(tmp_path / "tiny", positions=8192)), "dtype": "float32"}
    attack = {"use": "zero_shot", "attacker": model, "n": 1, "attacker_tokens": 4}
    judge = {"use": "rating", "model": model, "max_tokens": 2}
    spec = {"suite": "kitchen", "limit": 1, "benign": "none", "target": model, "attack": attack, "judge": judge}
    done = withstand.run(spec | {"sampling": {"max_tokens": 4}}, store=tmp_path / "s.db")
    (cell,) = done.cells
    assert (cell["cases"], cell["error"]) == (1, 0)
    assert cell["tokens"] > 0
    assert len(loaded) == 1


def test_a_run_on_a_local_model_resumes_to_the_same_rows(folder: Path, tmp_path: Path) -> None:
    spec = {
        "suite": "kitchen",
        "limit": 4,
        "target": {"use": "hf", "id": str(folder), "dtype": "float32"},
        "attack": ["direct", "prefill"],
        "where": {"functional": "standard"},
        "sampling": {"max_tokens": 5, "temperature": 1.0},
    }
    first = withstand.run(spec, store=tmp_path / "a.db")
    assert [cell["error"] for cell in first.cells] == [0, 0, 0]
    assert withstand.run(spec, store=tmp_path / "a.db").tally.asks == 0  # type: ignore[union-attr]
    spec["target"] |= {"width": 1}  # type: ignore[operator]
    second = withstand.run(spec, store=tmp_path / "b.db")
    assert [c["completion"] for c in first.cases()] == [c["completion"] for c in second.cases()]
