"""The hf target on a tiny model of the real classes: what it renders, what is in its key, what it refuses."""

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import withstand
from withstand import find
from withstand.core import AskError, Chat, Message, Sampling, SpecError, user
from withstand.models import hf
from withstand.models.hf import HF

sys.path.insert(0, str(Path(__file__).parent))
import tiny


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
    tokenizer.chat_template = hf._raw(tokenizer)
    for text in ("[I] a I", "a {{ I }} 'a'"):
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        assert rendered.startswith(start)
        assert rendered.endswith(text)
        assert tokenizer(rendered, add_special_tokens=False)["input_ids"] == tokenizer(text)["input_ids"]

    bare = model(folder, template="none")
    bare.check()
    assert bare.render(user("Hi")) == "Hi"
    assert bare.render((*user("Hi "), Message("assistant", "there"))) == "Hi there"


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
    other = tiny.save(tmp_path / "other", seed=5)
    assert model(other).identity()["weights"] != model(folder).identity()["weights"]
    assert model(other).identity()["tokenizer"] == model(folder).identity()["tokenizer"]
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
    monkeypatch.setattr(hf, "_matmul_seconds", lambda dtype: next(seconds))
    assert HF(str(folder)).identity()["dtype"] == "bfloat16"
    hf._IDENTITIES.clear()
    assert HF(str(folder)).identity()["dtype"] == "bfloat16"  # a third measurement would raise StopIteration


@pytest.mark.parametrize(
    ("chat", "sampling", "said"),
    [
        ((Message("tool", "x"),), Sampling(max_tokens=2), "no tool"),
        ((Message("user", "x", images=("a.png",)),), Sampling(max_tokens=2), "images"),
        (user("x" * 300), Sampling(max_tokens=2), "window of 256"),
        (user("x"), Sampling(max_tokens=300), "window of 256"),
    ],
)
def test_what_cannot_be_asked_is_said(folder: Path, chat: Chat, sampling: Sampling, said: str) -> None:
    with pytest.raises(AskError, match=said):
        model(folder).generate([chat], sampling, [0])


def test_what_cannot_be_loaded_is_said_before_anything_is_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be had from the hub") as caught:
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


def test_thinking_is_kept_apart(folder: Path) -> None:
    from withstand.models._decode import Answer

    target = model(folder)
    tokenizer = target.load().tokenizer

    def read(text: str, finish: str = "stop") -> tuple[str, str]:
        answer = Answer(tokenizer(text, add_special_tokens=False)["input_ids"], finish)  # type: ignore[arg-type]
        completion = target._completion(tokenizer, user("Hi"), Sampling(), answer, 3)
        assert completion.answer_tokens + completion.reasoning_tokens == len(answer.ids)
        return completion.text, completion.reasoning

    assert read("<think>hm</think>\nYes") == ("Yes", "hm")
    assert read("hm</think>Yes") == ("Yes", "hm")  # a template that opens the block in the prompt
    assert read("<think>hm, wait", "length") == ("", "hm, wait")
    assert read("Yes") == ("Yes", "")


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
