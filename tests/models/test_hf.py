"""The hf target on a tiny model of the real classes: what it renders, what is in its key, what it refuses."""

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import withstand
from withstand import find
from withstand.core import AskError, Chat, Message, Sampling, SpecError, digest, user
from withstand.models import _device, hf
from withstand.models._thinking import Tags, Watch
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
    monkeypatch.setattr(_device, "_matmul_seconds", lambda dtype: next(seconds))
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
            said = watch(ids)
            if isinstance(said, list):
                ids += said[:1]
                assert watch(ids) == ""
                ids += said[1:]
                said = watch(ids)
            if said:
                return f"{''.join(map(chr, ids))}|{said}"
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
    told = thinker(folder, tmp_path, template, thinking=True, template_kwargs='{"reasoning_effort": "low"}')
    assert told.render(user("Hi")) == "low|True"
    built = find.build("target", f'hf:{folder},template_kwargs=\'{{"reasoning_effort": "low"}}\'')
    assert built.template_kwargs == '{"reasoning_effort": "low"}'
    for wrong in ("[1]", "{", "low"):
        with pytest.raises(SpecError, match="no JSON object"):
            model(folder, template_kwargs=wrong)
    for fields in ({"reasoning_tokens": -1}, {"think_close": " "}):
        with pytest.raises(SpecError):
            model(folder, **fields)


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
