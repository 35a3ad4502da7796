"""Where an attack's tokens stand in the whole rendered prompt, and which tokens survive as text. Ours.

A prompt is text on both sides of a *slot*, the tokens that an attack may choose: chat template, context and behavior
before or after it, then the target string. Everything is read by the target's own template and tokenizer; nothing
assumes how many special tokens a model begins with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from withstand.core import Behavior, Chat, SpecError, WhiteBox, user
from withstand.core.describe import name_of
from withstand.core.optional import optional
from withstand.core.protocols import SeenThrough

MARK = "\ue000"  # a private-use character, in no text
ANCHOR = 4
"""Tokens of the head that are decoded with a slot, since some tokenizers decode a first token differently."""
FIRST_DRAW = 1 << 20
"""Number of the first draw of a randomized defense that an attack looks at: far from those that the defense makes when
it answers, so that no search fits what only the defender can know."""
DRAWS = 4
"""Draws of a randomized defense over which a loss is a mean."""


@dataclass(frozen=True)
class Prompt:
    """A behavior's rendered prompt around its slot.

    `head`, `tail`, `target`: token ids before the slot, after it up to the answer, and of the target string. `before`,
    `after`: the text that they stand for, without the target. `lead`, `trail`: white space at the rim of the slot that
    belongs to the rendered text, not to the attack. `answers`: the ids and weights of answers for the loss "reinforce".
    `drawn`: a defense changes the slot's own characters, so that this is the prompt as it is without them changed.
    """

    behavior: Behavior
    placement: Literal["suffix", "prefix"]
    head: tuple[int, ...]
    tail: tuple[int, ...]
    target: tuple[int, ...]
    before: str
    after: str
    lead: str = ""
    trail: str = ""
    answers: tuple[tuple[tuple[int, ...], float], ...] = ()
    drawn: bool = False

    def chat(self, slot: str) -> Chat:
        """What a user sends for the slot's text."""
        text = slot[len(self.lead) : len(slot) - len(self.trail)]
        own = self.behavior.text
        return user(self.behavior.prompt(own + text if self.placement == "suffix" else f"{text} {own}"))


def make_prompt(
    model: WhiteBox,
    behavior: Behavior,
    init: str,
    placement: Literal["suffix", "prefix"] = "suffix",
    first_only: bool = False,
) -> tuple[Prompt, tuple[int, ...]]:
    """The prompt of a behavior and the ids of its first slot, whose text is `init`.

    first_only: of the target string the place of its first token is enough, so that a behavior without one will do.
    Raises `SpecError` for a behavior without target string, an init that merges with its surroundings, a template or a
    defense that does not show the user's text once, a prompt longer than the model's window, and a tokenizer without
    offsets.
    """
    if not first_only:
        check_target(behavior)
    if not init.strip():
        raise SpecError("the init is empty", hint='give some tokens to start from, such as "! ! ! ! ! ! ! !"')
    loaded = model.load()
    tokenizer = loaded.tokenizer
    if not tokenizer.is_fast:
        raise SpecError("this tokenizer gives no offsets", hint="use a model with a tokenizer.json (a fast tokenizer)")
    marked = behavior.prompt(f"{behavior.text}{MARK}" if placement == "suffix" else f"{MARK} {behavior.text}")
    slot = f" {init}" if placement == "suffix" else init
    before, after, drawn = _around(model, marked, slot)
    text = before + slot + after
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    low, high = len(before), len(before) + len(slot)
    inside = [i for i, (start, end) in enumerate(offsets) if end > low and start < high and end > start]
    first, last = inside[0], inside[-1]
    low, high = min(low, offsets[first][0]), max(high, offsets[last][1])
    lead, trail = text[low : len(before)], text[len(before) + len(slot) : high]
    if (lead + trail).strip():
        raise SpecError(
            f"the init {init!r} merges with {(lead + trail).strip()!r} beside it into one token",
            hint="begin and end the init with tokens that stand alone, such as !",
        )
    target = _target(model, behavior, text, ids, first_only)
    length = len(ids) + len(target)
    if loaded.window and length > loaded.window:
        raise SpecError(
            f"behavior {behavior.id} with slot and target string has {length} tokens, the window {loaded.window}",
            hint="use a model with a longer window, or a suite with shorter contexts",
        )
    head, tail = tuple(ids[:first]), tuple(ids[last + 1 :])
    rim = (text[:low], text[high:], lead, trail)
    prompt = Prompt(behavior, placement, head, tail, target, *rim, drawn=drawn)
    chosen = tuple(ids[first : last + 1])
    if not survives(tokenizer, prompt, [chosen])[0]:
        raise SpecError(
            f"the init {init!r} does not come back from its own tokens",
            hint="use words and signs that the tokenizer reads back as they are",
        )
    return prompt, chosen


def whole_prompt(model: WhiteBox, behavior: Behavior) -> Prompt:
    """The prompt of a behavior as the model reads it, nothing beside it: all of its tokens are the `head`.

    Behind a randomized defense it is that of the first draw. Raises `SpecError` for a behavior without target string.
    """
    check_target(behavior)
    tokenizer = model.load().tokenizer
    [text, *_] = readings(model, user(behavior.prompt(behavior.text)))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Prompt(behavior, "suffix", tuple(ids), (), _target(model, behavior, text, ids, False), "", text)


def check_target(behavior: Behavior) -> None:
    """Raise `SpecError` where there is no target string."""
    if not behavior.target_string:
        raise SpecError(
            f"behavior {behavior.id} has no target string to optimize towards",
            hint="give the suite a target_string column, or use an attack that needs no weights",
        )


def _around(model: WhiteBox, marked: str, slot: str) -> tuple[str, str, bool]:
    """What the model reads before and after the slot, and whether a defense changes the slot's own characters.

    Then it is what the model reads in a draw that leaves the user's text as it is, or without the defense.
    """
    chat = user(marked)
    if not (isinstance(model, SeenThrough) and optional(model.defense, "wrap")):
        return *_sides(model.render(chat), "the chat template"), False
    bare = _sides(model.model.render(chat), "the chat template")
    if optional(model.defense, "randomized"):
        rendered = model.render_drawn(chat, FIRST_DRAW)
        return *(_sides(rendered, "") if rendered.count(MARK) == 1 and marked in rendered else bare), True
    rendered = model.render(chat)
    around = _sides(
        rendered,
        f"the defense {name_of(type(model.defense))}",
        "send cases that were found without it (--cases-from): the report calls them static",
    )
    as_written = rendered.replace(MARK, slot) == model.render(user(marked.replace(MARK, slot)))
    return *(around if as_written else bare), not as_written


def _sides(rendered: str, who: str, hint: str = "") -> tuple[str, str]:
    if (count := rendered.count(MARK)) != 1:
        raise SpecError(f"{who} shows the user's text {count} times; an attack by weights needs it once", hint=hint)
    before, after = rendered.split(MARK)
    return before, after


def _target(model: WhiteBox, behavior: Behavior, text: str, ids: Sequence[int], first_only: bool) -> tuple[int, ...]:
    """The ids of the target string after a rendered prompt and what closes its thinking; see `make_prompt`."""
    closing, tokenizer = model.closing(text), model.load().tokenizer
    target = target_ids(tokenizer, text, ids, closing + (behavior.target_string or "."))
    if not first_only:
        return target
    return target[: 1 + (len(target_ids(tokenizer, text, ids, closing)) if closing else 0)]


def target_ids(tokenizer: Any, text: str, ids: Sequence[int], answer: str) -> tuple[int, ...]:
    """The answer's ids as the model would say them after the prompt: read with it, or alone where that merges."""
    both = tokenizer(text + answer, add_special_tokens=False)["input_ids"]
    if both[: len(ids)] == list(ids):
        return tuple(both[len(ids) :])
    return tuple(tokenizer(answer, add_special_tokens=False)["input_ids"])


def readings(model: WhiteBox, chat: Chat, draws: Sequence[int] = range(FIRST_DRAW, FIRST_DRAW + DRAWS)) -> list[str]:
    """The chat as the model reads it: once, or in each of the draws where it stands behind a randomized defense."""
    if isinstance(model, SeenThrough) and optional(model.defense, "wrap") and optional(model.defense, "randomized"):
        return [model.render_drawn(chat, draw) for draw in draws]
    return [model.render(chat)]


def texts(tokenizer: Any, prompt: Prompt, slots: Sequence[Sequence[int]]) -> list[str]:
    """The text of each slot as it reads after the head."""
    anchor = list(prompt.head[-ANCHOR:])
    [start, *decoded] = tokenizer.backend_tokenizer.decode_batch(
        [anchor, *([*anchor, *slot] for slot in slots)], skip_special_tokens=False
    )
    return [text[len(start) :] if text.startswith(start) else "" for text in decoded]


def as_sent(model: WhiteBox, tokenizer: Any, prompt: Prompt, slot: Sequence[int]) -> tuple[str, list[int]]:
    """What a user sends for a slot, and its tokens as the model reads them, whether or not the slot's own survive."""
    [text] = texts(tokenizer, prompt, [slot])
    chat = prompt.chat(text)
    ids: list[int] = tokenizer(model.render(chat), add_special_tokens=False)["input_ids"]
    return chat[0].text, ids


def survives(tokenizer: Any, prompt: Prompt, slots: Sequence[Sequence[int]]) -> list[bool]:
    """Whether the whole prompt, written as text and read again, has the same tokens."""
    read = texts(tokenizer, prompt, slots)
    whole = tokenizer.backend_tokenizer.encode_batch(
        [prompt.before + text + prompt.after for text in read], add_special_tokens=False
    )
    rim = (prompt.lead, prompt.trail)
    return [
        encoded.ids == [*prompt.head, *slot, *prompt.tail] and _keeps_its_rim(prompt, text, *rim)
        for text, slot, encoded in zip(read, slots, whole, strict=True)
    ]


def _keeps_its_rim(prompt: Prompt, text: str, lead: str, trail: str) -> bool:
    """Templates trim a turn: white space at its end would be lost."""
    if not (text.startswith(lead) and text.endswith(trail)):
        return False
    inner = text[len(lead) : len(text) - len(trail)]
    return bool(inner) and (inner == inner.rstrip() if prompt.placement == "suffix" else inner == inner.lstrip())


@lru_cache(maxsize=8)
def allowed(tokenizer: Any, size: int, ascii_only: bool = True) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of `size` ids may stand in a slot: no special or added tokens, none beyond the tokenizer's vocabulary; if
    `ascii_only`, those alone whose text is printable ASCII (HarmBench section 2.0)."""
    readable = min(size, len(tokenizer))
    decoded = tokenizer.backend_tokenizer.decode_batch([[i] for i in range(readable)], skip_special_tokens=False)
    mask = np.zeros(size, dtype=bool)
    mask[:readable] = [
        bool(text) and "\ufffd" not in text and (not ascii_only or (text.isascii() and text.isprintable()))
        for text in decoded
    ]
    special = [i for i in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} if i < size]
    mask[special] = False
    return mask
