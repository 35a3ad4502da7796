"""The target vllm against a stand-in with vLLM's documented signatures. No GPU has run it yet."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vllm_standin as standin
from withstand import api
from withstand.core import AskError, Completion, Message, Sampling, SpecError, user
from withstand.models import vllm as module
from withstand.models._thinking import split_thinking
from withstand.models.vllm import VLLM
from withstand.registry import find

VERSIONS = ("0.8.5", "0.9.2")


def echo(prompt: str, params: Any) -> Any:
    """An answer that depends on prompt, temperature and seed, ended by a token."""
    drawn = params.seed % 7 if params.temperature else 0
    words = f"{prompt} {drawn}".split()[-params.max_tokens :]
    return standin.answer(" ".join(words), [*(len(word) for word in words), 0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the target looks for in a model's folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`vllm(replies, version)` puts the stand-in where the package would be."""
    monkeypatch.setattr(module, "_LOADED", {})
    monkeypatch.setattr(module, "_IDENTITIES", {})
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)

    def install(replies: Any = echo, version: str = "0.9.2", on_load: Any = lambda: None) -> Any:
        package = standin.module(replies, version, on_load)
        for name, stand_in in standin.modules(package).items():
            monkeypatch.setitem(sys.modules, name, stand_in)
        return package

    return install


def answer(folder: Path, chat: Any = None, sampling: Sampling | None = None, **fields: Any) -> Completion:
    return VLLM(str(folder), **fields).generate([chat or user("Hi there")], sampling or Sampling(), [0])[0]


# --- what vLLM is given ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_batch_goes_out_whole_with_a_seed_a_row(vllm: Any, folder: Path, version: str) -> None:
    package = vllm(version=version)
    model = VLLM(str(folder), system="Be brief.")
    sampling = Sampling(max_tokens=5, temperature=0.7, top_p=0.9, stop=("\n",), logprobs=3)
    chats = [user("a"), (Message("system", "Long."), Message("user", "b")), user("c")]
    completions = model.generate(chats, sampling, [1, 2**40 + 2, 3])
    assert [answer.text for answer in completions] == ["Be brief. a 1", "Long. b 2", "Be brief. c 3"]
    (llm,) = package.made
    (call,) = llm.calls
    assert call.messages[0] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    assert call.messages[1][0] == {"role": "system", "content": "Long."}
    assert [params.seed for params in call.params] == [1, 2, 3]
    assert {(row.max_tokens, row.temperature, row.top_p, row.logprobs) for row in call.params} == {(5, 0.7, 0.9, 3)}
    assert call.params[0].stop == ["\n"]
    assert call.more["use_tqdm"] is False
    assert call.more["prefill"] == (True, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_prefills_go_in_a_call_of_their_own_and_order_is_kept(vllm: Any, folder: Path, version: str) -> None:
    package = vllm(version=version)
    prefill = (Message("user", "b"), Message("assistant", "Sure,"))
    completions = VLLM(str(folder)).generate([user("a"), prefill, user("c")], Sampling(), [0, 0, 0])
    assert [answer.text for answer in completions] == ["a 0", "b Sure, 0", "c 0"]
    assert [answer.chat for answer in completions] == [user("a"), prefill, user("c")]
    plain, continued = package.made[0].calls
    assert (plain.more["prefill"], continued.more["prefill"]) == ((True, False), (False, True))
    assert len(continued.messages) == 1


def test_the_engine_gets_the_fields(vllm: Any, folder: Path, tmp_path: Path) -> None:
    seen: list[str | None] = []
    package = vllm(on_load=lambda: seen.append(os.environ.get("VLLM_NO_USAGE_STATS")))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 20}')
    (adapter / "adapter_model.safetensors").write_bytes(b"lora")
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    answer(
        folder, dtype="bfloat16", adapter=str(adapter), template=str(template), thinking=False, date="1 Jan 2025",
        quantization="fp8", max_model_len=512, gpu_memory_utilization=0.5, tensor_parallel_size=2,
        extra='{"enforce_eager": true, "max_num_seqs": 8}', params='{"top_k": 5}',
    )  # fmt: skip
    (llm,) = package.made
    assert llm.given == {
        "model": str(folder), "dtype": "bfloat16", "quantization": "fp8", "seed": 0, "gpu_memory_utilization": 0.5,
        "tensor_parallel_size": 2, "trust_remote_code": False, "enforce_eager": True, "max_num_seqs": 8,
        "max_model_len": 512, "enable_lora": True, "max_lora_rank": 32,
    }  # fmt: skip
    (call,) = llm.calls
    assert call.params[0].top_k == 5
    assert call.more["chat_template"] == "{{ messages }}"
    assert call.more["chat_template_kwargs"] == {"enable_thinking": False, "date_string": "1 Jan 2025"}
    assert call.more["lora_request"] == standin.LoRARequest("adapter", 1, str(adapter))
    assert seen == ["1"]  # vLLM tells its makers nothing


def test_equal_targets_load_once_and_release_ends_the_engine(vllm: Any, folder: Path) -> None:
    package = vllm()
    answer(folder)
    answer(folder)
    assert len(package.made) == 1
    VLLM(str(folder)).release()
    assert package.made[0].llm_engine.down
    answer(folder)
    assert len(package.made) == 2
    VLLM(str(folder), width=1).release()  # another target: nothing of its own is loaded
    assert not package.made[1].llm_engine.down


# --- what comes back ---------------------------------------------------------------------------------------------


def output(*arguments: Any, **named: Any) -> Any:
    return lambda *_: standin.answer(*arguments, **named)


def test_how_an_answer_ends_and_what_it_counts(vllm: Any, folder: Path) -> None:
    vllm(output("a b c", [1, 1, 1, 0]))
    completion = answer(folder)  # "Hi there" is two tokens; the token that ended the answer is not one of it
    assert (completion.finish, completion.prompt_tokens, completion.answer_tokens) == ("stop", 2, 3)
    module._LOADED.clear()
    vllm(output("a b c", [1, 1, 1], "length"))
    completion = answer(folder)
    assert (completion.finish, completion.answer_tokens) == ("length", 3)
    module._LOADED.clear()
    vllm(output("a b", [1, 1, 9], stop="c"))  # a stop string's tokens are written, its text is left out
    assert answer(folder).answer_tokens == 3
    module._LOADED.clear()
    vllm(output("a b", [1, 1, 128009], stop=128009))  # another of the model's tokens that end
    assert answer(folder).answer_tokens == 2
    module._LOADED.clear()
    vllm(output("", [], "abort"))
    with pytest.raises(AskError, match="'abort'"):
        answer(folder)


def test_thinking_is_kept_apart_as_hf_does(vllm: Any, folder: Path) -> None:
    vllm(output("<think>\nlet me see\n</think>\n\nYes it is", [1] * 8 + [0]))
    completion = answer(folder)
    assert (completion.reasoning, completion.text) == ("let me see", "Yes it is")
    assert (completion.reasoning_tokens, completion.answer_tokens) == (3, 5)
    assert split_thinking("hm</think>Yes") == ("hm", "Yes")
    assert split_thinking("<think>hm, wait") == ("hm, wait", "")
    assert split_thinking("Yes") == ("", "Yes")


def test_logprobs_are_the_best_first_and_no_more_than_asked_for(vllm: Any, folder: Path) -> None:
    logprob = standin.Logprob
    places = [  # the drawn token comes first, and beside the top ones
        {7: logprob(-4.0, 9, "z"), 1: logprob(-0.5, 1, "a"), 2: logprob(-1.5, 2, "b")},
        {2: logprob(-1.0, 1, "b"), 1: logprob(-1.2, 2, None)},
        {0: logprob(-0.1, 1, ""), 3: logprob(-3.0, 2, "c")},  # of the token that ended it
    ]
    vllm(output("zb", [7, 2, 0], logprobs=places))
    completion = answer(folder, sampling=Sampling(logprobs=2))
    assert completion.logprobs == ((("a", -0.5), ("b", -1.5)), (("b", -1.0), ("", -1.2)))


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_chat_that_is_too_long_fails_alone(vllm: Any, folder: Path, tmp_path: Path) -> None:
    vllm()
    with pytest.raises(AskError, match="longer than the maximum model length") as caught:
        answer(folder, user("a b c d"), max_model_len=3)
    assert "max_model_len" in caught.value.hint
    rows = [{"id": str(i), "text": "word " * i} for i in (1, 2, 9)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (cell,) = api.run(
        {
            "suite": f"jsonl:{tmp_path / 'b.jsonl'}",
            "target": {"use": "vllm", "id": str(folder), "max_model_len": 4},
            "attack": "direct",
        },
        store=tmp_path / "s.db",
    ).cells
    assert (cell["cases"], cell["error"]) == (3, 1)


def test_an_answer_too_few_is_an_error(vllm: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = vllm()
    monkeypatch.setattr(package.LLM, "chat", lambda *_, **__: [])
    with pytest.raises(AskError, match="answered 0 times to 1 chats"):
        answer(folder)


def test_what_this_version_does_not_know(vllm: Any, folder: Path) -> None:
    vllm(version="0.8.5")
    assert answer(folder).text == "Hi there 0"
    with pytest.raises(AskError, match="chat_template_kwargs"):
        answer(folder, thinking=True)
    with pytest.raises(AskError, match="topk"):
        answer(folder, params='{"topk": 3}')
    with pytest.raises(SpecError, match="enforce_eagerly"):
        answer(folder, extra='{"enforce_eagerly": true}')


def test_images(vllm: Any, folder: Path) -> None:
    vllm()
    with pytest.raises(AskError, match="does not read images"):
        answer(folder, (Message("user", "Hi", images=("a.png",)),))


@pytest.mark.parametrize(("config", "message"), [('{"r": 1000}', "rank 1000"), ("{}", "names no rank")])
def test_an_adapter_that_vllm_cannot_take(vllm: Any, folder: Path, config: str, message: str) -> None:
    vllm()
    (folder / "adapter_config.json").write_text(config)
    with pytest.raises(SpecError, match=message):
        answer(folder, adapter=str(folder))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match="not installed") as caught:
        VLLM(str(folder)).check()
    assert "pip install 'withstand[vllm]'" in caught.value.hint
    monkeypatch.setattr(module, "resolve", lambda *_: pytest.fail("fetched for nothing"))
    with pytest.raises(SpecError, match="not installed"):
        VLLM("some/model").identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "id is empty"),
        ({"width": 0}, "width is 0"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"max_model_len": -1}, "max_model_len"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization"),
        ({"extra": "[]"}, "no JSON object"),
        ({"extra": '{"hf_token": "x"}'}, "would be stored"),
        ({"extra": '{"seed": 3}'}, "seed"),
        ({"params": '{"temperature": 1}'}, "temperature"),
        ({"params": '{"n": 2}'}, "holds n"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        VLLM(**({"id": "x"} | fields))


def test_names_and_identity(vllm: Any, folder: Path, tmp_path: Path) -> None:
    vllm()
    model = VLLM(str(folder))
    model.check()
    assert (model.place, model.width, model.lanes, model.hosts) == ("cuda:0", 256, 1, ())
    assert VLLM("x", tensor_parallel_size=2).place == "devices"
    assert find.build("target", "vllm:Qwen/Qwen3-8B,dtype=bfloat16") == VLLM("Qwen/Qwen3-8B", dtype="bfloat16")
    before = model.identity()
    assert str(folder) not in json.dumps(before)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert VLLM(str(copy)).identity() == before
    (copy / "model.safetensors").write_bytes(b"other weights")
    module._IDENTITIES.clear()
    assert VLLM(str(copy)).identity()["weights"] != before["weights"]


def test_the_same_folder_has_the_digests_that_hf_gives(vllm: Any, folder: Path) -> None:
    from withstand.models.hf import HF

    theirs = HF(str(folder), dtype="float32").identity()
    ours = VLLM(str(folder)).identity()
    assert ours == {name: theirs[name] for name in ours}
