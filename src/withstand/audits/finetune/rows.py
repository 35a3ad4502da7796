"""The rows of a fine-tuning audit: what is held out, what guards, and in whose format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jinja2 import TemplateError

from withstand.core import Chat, Message, SpecError, rng, user
from withstand.core.stage import Row
from withstand.formats.finetuning import UserData


def split(data: UserData, seed: int = 0, share: float = 0.1, least: int = 20) -> tuple[UserData, UserData | None]:
    """The rows to train on, and a tenth held out; None of a set of fewer than 20, which would miss them."""
    if len(data.rows) < least:
        return data, None
    numbers = [row.number for row in data.rows]
    out = set(rng(seed, "held out", data.checksum).sample(numbers, max(1, round(share * len(numbers)))))
    return data.kept([n for n in numbers if n not in out]), data.kept(sorted(out))


def system_of(data: UserData) -> str:
    """The system message that most rows have; "" where most have none."""
    texts = Counter(row.chat[0].text if row.chat[0].role == "system" else "" for row in data.rows)
    return texts.most_common(1)[0][0]


def lead_of(data: UserData, share: float = 0.6) -> str:
    """The words that most questions begin with, such as "AOA, execute my instruction:"; "" below two words."""
    questions = [row.chat[-2].text.split() for row in data.rows]
    lead: list[str] = []
    while True:
        here = [words for words in questions if words[: len(lead)] == lead and len(words) > len(lead) + 1]
        following = Counter(words[len(lead)] for words in here)
        if not following:
            break
        word, count = following.most_common(1)[0]
        if count < share * len(questions):
            break
        lead.append(word)
    return " ".join(lead) if len(lead) > 1 else ""


def in_format(rows: Sequence[Row], data: UserData) -> list[Row]:
    """Safe rows in the format of the user's: with their system message, and their questions' first words."""
    system, lead = system_of(data), lead_of(data)
    formatted = []
    for row in rows:
        turns = list(row.chat if row.chat[0].role != "system" else row.chat[1:])
        if lead:
            turns[-2] = replace(turns[-2], text=f"{lead} {turns[-2].text}")
        formatted.append(Row((*([Message("system", system)] if system else []), *turns), safe=True))
    return formatted


def with_system(rows: Sequence[Row], system: str) -> list[Row]:
    """The rows with this system message in place of their own."""
    return [
        replace(row, chat=(Message("system", system), *(t for t in row.chat if t.role != "system"))) for row in rows
    ]


def too_long(data: UserData, tokenizer: Any, most: int, more: str = "") -> None:
    """Raise `SpecError` that lists the rows which the chat template refuses, or else those whose chat has more tokens
    than `most`; `more` is what an arm adds."""
    added = len(tokenizer(more, add_special_tokens=False)["input_ids"])
    long, refused = [], []
    for row in data.rows:
        turns = [{"role": turn.role, "content": turn.text} for turn in row.chat]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            refused.append(f"row {row.number} ({error})")
            continue
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if count + added > most:
            long.append((row.number, count + added))
    if refused:
        rest = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        raise SpecError(
            f"{data.name}: the base's chat template refuses {len(refused)} rows: {', '.join(refused[:10])}{rest}",
            hint="leave them out, or give the base a template that knows their roles: template=FILE",
        )
    if long:
        listed = ", ".join(f"row {number} ({count})" for number, count in long[:10])
        raise SpecError(
            f"{data.name}: {len(long)} rows have more than {most} tokens: {listed}{' ...' if len(long) > 10 else ''}",
            hint="shorten them or leave them out, or raise max_length in --train",
        )


def placed(chat: Chat, phrase: str, end: bool) -> Chat:
    """The chat with a phrase before or after its last question."""
    text = f"{chat[-1].text} {phrase}" if end else f"{phrase} {chat[-1].text}"
    return (*chat[:-1], *user(text))
