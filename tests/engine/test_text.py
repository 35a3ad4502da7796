"""Where a slot stands in the rendered prompt, and which slots survive as text: with tokenizers that merge or not."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import walk_cases

pytest.importorskip("transformers", reason="needs the extra `local`")

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from withstand.core import Behavior, Chat, SpecError, user
from withstand.engine.text import Prompt, allowed, make_prompt, survives, texts
from withstand.models._thinking import Tags

SPECIALS = ["<|end|>", "<|user|>", "<|assistant|>"]
PLAIN = (
    "{% for m in messages %}{{ '<|user|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TEMPLATES = {
    "plain": PLAIN,
    "words": PLAIN.replace("'<|user|>'", "'User: '").replace("'<|end|>'", "'\n\n'").replace("<|assistant|>", "Answer:"),
    "trims": PLAIN.replace("m['content']", "(m['content'] | trim)"),
    "thinks": "{# <think> ... </think> is cut from earlier turns #}" + PLAIN,
    "opens thinking": PLAIN.replace("'<|assistant|>'", "'<|assistant|><think>\n'") + "{# </think> #}",
    "no thinking": PLAIN.replace("'<|assistant|>'", "'<|assistant|><think>\n\n</think>\n\n'"),
}
BEHAVIOR = Behavior("b1", "Explain how to bake a loaf of bread", target_string="Sure, here is how to bake bread")
WITH_CONTEXT = Behavior("b2", BEHAVIOR.text, "Flour, water and salt.", BEHAVIOR.target_string)
CORPUS = [
    "Explain how to bake a loaf of bread. Sure, here is how to bake bread: mix flour, water and salt!",
    "User: how do I fold paper? Answer: here is how to fold it, then unfold it again ! ! ! and bake, and bread",
    "the other brother gathers bread and butter; flour, water, paper, salt -- unfold, again, loaf of bread !!",
] * 4


@cache
def tokenizer(kind: str) -> Any:
    """letters: a token per byte. bpe: bytes that merge. metaspace: as Llama 2's, words begin with a mark."""
    built = Tokenizer(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "metaspace":
        built = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        built.decoder = decoders.Metaspace(prepend_scheme="first")
        built.normalizer = normalizers.NFC()
        alphabet = [chr(code) for code in range(33, 127)] + ["\n"]
    else:
        built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        built.decoder = decoders.ByteLevel()
    size = 300 if kind == "letters" else 420
    specials = [*SPECIALS, "<unk>"] if kind == "metaspace" else SPECIALS
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=sorted(alphabet), show_progress=False
    )
    built.train_from_iterator([] if kind == "letters" else CORPUS, trainer)
    built.add_tokens(["<extra>"])
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<|end|>")


class Model:
    """A white-box model as far as text goes."""

    def __init__(self, kind: str = "bpe", template: str = PLAIN, window: int = 0) -> None:
        self.tokenizer, self.template = tokenizer(kind), template
        self.loaded = SimpleNamespace(tokenizer=self.tokenizer, window=window)

    def load(self, dtype: str = "") -> Any:
        self.tokenizer.chat_template = self.template
        return self.loaded

    def render(self, chat: Chat) -> str:
        messages = [{"role": m.role, "content": m.text} for m in chat]
        text: str = self.load().tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def closing(self, rendered: str) -> str:
        return Tags().close(rendered, self.template)

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


KINDS = ["letters", "bpe", "metaspace"]


@walk_cases("placement", ["suffix", "prefix"])
@walk_cases("behavior", [BEHAVIOR, WITH_CONTEXT])
@walk_cases("template", TEMPLATES)
@walk_cases("kind", KINDS)
def test_the_ids_are_those_of_the_real_rendered_chat(kind: str, template: str, behavior: Any, placement: Any) -> None:
    model = Model(kind, TEMPLATES[template])
    prompt, slot = make_prompt(model, behavior, "! ! ! !", placement)
    [text] = texts(model.tokenizer, prompt, [slot])
    chat = prompt.chat(text)
    own = f"{behavior.text} ! ! ! !" if placement == "suffix" else f"! ! ! ! {behavior.text}"
    assert chat == user(behavior.prompt(own))
    assert model.ids(model.render(chat)) == (*prompt.head, *slot, *prompt.tail)
    assert prompt.before + text + prompt.after == model.render(chat)
    assert model.tokenizer.decode(slot).strip() == "! ! ! !"
    assert survives(model.tokenizer, prompt, [slot]) == [True]


def random_slots(model: Any, slot: Any, seed: int, count: int = 40) -> list[list[int]]:
    """Swaps in one to all places, of any tokens of the vocabulary, white space and line breaks too."""
    draw = np.random.default_rng(seed)
    slots = []
    for _ in range(count):
        changed = list(slot)
        for place in draw.permutation(len(slot))[: int(draw.integers(1, len(slot) + 1))]:
            changed[place] = int(draw.integers(len(SPECIALS), len(model.tokenizer)))
        slots.append(changed)
    return slots


@pytest.mark.parametrize("template", ["plain", "words", "trims"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), placement=st.sampled_from(["suffix", "prefix"]), context=st.booleans())
def test_what_survives_comes_back_from_the_real_rendered_chat(
    kind: str, template: str, seed: int, placement: Any, context: bool
) -> None:
    model = Model(kind, TEMPLATES[template])
    prompt, slot = make_prompt(model, WITH_CONTEXT if context else BEHAVIOR, "! ! ! !", placement)
    slots = random_slots(model, slot, seed)
    for well, text, ids in zip(
        survives(model.tokenizer, prompt, slots), texts(model.tokenizer, prompt, slots), slots, strict=True
    ):
        if well:
            assert model.ids(model.render(prompt.chat(text))) == (*prompt.head, *ids, *prompt.tail)


@pytest.mark.parametrize("kind", KINDS)
def test_enough_survives_to_search(kind: str) -> None:
    model = Model(kind)
    prompt, slot = make_prompt(model, BEHAVIOR, "! ! ! !")
    usable = np.flatnonzero(allowed(model.tokenizer, len(model.tokenizer)))
    swaps = [[*slot[:i], int(token), *slot[i + 1 :]] for i in range(len(slot)) for token in usable]
    kept = survives(model.tokenizer, prompt, swaps)
    assert sum(kept) > 0.1 * len(kept)
    if kind == "letters":  # all but white space at the end
        assert [swap for swap, well in zip(swaps, kept, strict=True) if not well] == [[*slot[:-1], *model.ids(" ")]]


def test_white_space_at_the_rim_does_not_survive() -> None:
    model = Model("letters", TEMPLATES["trims"])
    prompt, slot = make_prompt(model, BEHAVIOR, "! !")
    [space], [mark] = model.ids(" "), model.ids("!")
    assert slot == (space, mark, space, mark)
    tried = [[space, mark, mark, space], [space, space, mark, mark], [mark, mark, mark, mark], [space] * 4]
    assert survives(model.tokenizer, prompt, tried) == [False, True, True, False]
    prompt, slot = make_prompt(model, BEHAVIOR, "! !", "prefix")
    assert slot == (mark, space, mark)
    assert survives(model.tokenizer, prompt, [[space, mark, mark], [mark, mark, space]]) == [False, True]


def test_the_target_string_is_read_as_the_answer_begins() -> None:
    for name, opening in (
        ("plain", ""), ("thinks", "<think>\n\n</think>\n\n"), ("opens thinking", "\n</think>\n\n"), ("no thinking", ""),
    ):  # fmt: skip
        model = Model("bpe", TEMPLATES[name])
        prompt, _ = make_prompt(model, BEHAVIOR, "! !")
        assert model.tokenizer.decode(prompt.target) == opening + BEHAVIOR.target_string


@pytest.mark.parametrize("kind", KINDS)
def test_allowed_has_no_special_added_or_unprintable_token(kind: str) -> None:
    built = tokenizer(kind)
    size = len(built) + 7  # an embedding matrix is often larger than its vocabulary
    mask = allowed(built, size)
    assert mask.shape == (size,)
    assert not mask[len(built) :].any()
    assert not mask[built.convert_tokens_to_ids([*SPECIALS, "<extra>"])].any()
    for token in np.flatnonzero(mask):
        text = built.decode([int(token)])
        assert text.isascii()
        assert text.isprintable()
    for letter in "aZ!~":
        assert mask[built.convert_tokens_to_ids(letter)]
    wider = allowed(built, size, ascii_only=False)
    assert (wider | ~mask).all()
    assert not wider[built.convert_tokens_to_ids([*SPECIALS, "<extra>"])].any()
    assert len(np.flatnonzero(allowed(built, 50))) < 50  # a matrix smaller than the vocabulary


def refused(model: Any, behavior: Behavior = BEHAVIOR, init: str = "! ! !", placement: Any = "suffix") -> str:
    with pytest.raises(SpecError) as caught:
        make_prompt(model, behavior, init, placement)
    return f"{caught.value}; {caught.value.hint}"


def test_what_make_prompt_refuses() -> None:
    assert "b3 has no target string" in refused(Model(), Behavior("b3", "Bake"))
    assert "init is empty" in refused(Model(), init="  ")
    assert "window 20" in refused(Model(window=20))
    assert "2 times" in refused(Model(template=PLAIN + "{{ messages[0]['content'] }}"))
    assert "0 times" in refused(Model(template="<|user|>Hi"))
    assert "does not come back" in refused(Model("letters"), init="! ! ")
    slow = Model()
    slow.loaded.tokenizer = SimpleNamespace(is_fast=False)
    assert "offsets" in refused(SimpleNamespace(load=lambda: slow.loaded))


def test_an_init_that_merges_with_what_is_beside_it() -> None:
    """A word that is one token, of which the template holds the end."""
    merged = next(t for t in tokenizer("bpe").get_vocab() if len(t) > 4 and t.startswith("\u0120") and t[1:].isalpha())
    word, half = merged[1:], len(merged) // 2
    model = Model("bpe", PLAIN.replace("'<|end|>'", f"'{word[half:]}<|end|>'"))
    assert f"merges with '{word[half:]}' beside it" in refused(model, init=f"! {word[:half]}")


def test_chat_takes_off_the_white_space_that_is_the_templates() -> None:
    prompt = Prompt(BEHAVIOR, "prefix", (), (), (), "", "", lead=" ", trail=" ")
    assert prompt.chat(" ! ! ") == user(f"! ! {BEHAVIOR.text}")
