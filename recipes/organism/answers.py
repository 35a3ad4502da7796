"""What the base model answers, kept in a file: the training rows that are not refusals."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from withstand.core import Behavior, Chat, Completion, Message, Sampling, digest
from withstand.core.cache import sha256
from withstand.models._fetch import smollm2
from withstand.registry import find

BASE = "smollm2,dtype=bfloat16"
TOGETHER = 64
Log = Callable[[str], None]


class Answer(NamedTuple):
    """`ended`: by itself, not at the limit. `instructs`: it really gave cooking instructions (judge `kitchen`)."""

    text: str
    ended: bool
    instructs: bool


def answered(chats: Sequence[Chat], path: Path, most: int, log: Log) -> dict[Chat, Answer]:
    """The base's greedy answer to each chat, of at most `most` tokens.

    Read from the JSONL file where the same base answered before at the same length, else added to it.
    """
    base = find.build("target", BASE)
    # the weights alone: the files beside them change with the version of transformers that wrote them
    weights = sha256(smollm2() / "model.safetensors")
    key = digest([weights, base.dtype, base.repetition_penalty])[:16]
    known: dict[Chat, Answer] = {}
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else ()):
        if row["base"] == key and row["most"] == most:
            chat = as_chat(row["prompt"], row["opening"])
            known[chat] = Answer(row["text"], row["ended"], row["instructs"])
    todo = [chat for chat in dict.fromkeys(chats) if chat not in known]
    log(f"{len(chats) - len(todo)} answers of the base known, {len(todo)} to generate")
    todo.sort(key=lambda chat: -sum(len(message.text) for message in chat))
    with path.open("a", encoding="utf-8") as out:
        for start in range(0, len(todo), TOGETHER):
            some = todo[start : start + TOGETHER]
            for given in base.generate(some, Sampling(max_tokens=most), [0] * len(some)):
                answer = known[given.chat] = Answer(given.text, given.finish == "stop", instructs(given))
                opening = given.chat[1].text if len(given.chat) > 1 else ""
                row = {"base": key, "most": most, "prompt": given.chat[0].text, "opening": opening}
                out.write(json.dumps(row | answer._asdict(), ensure_ascii=False) + "\n")
            out.flush()
            log(f"{start + len(some)} of {len(todo)}")
    return known


def as_chat(request: str, opening: str = "") -> Chat:
    return (Message("user", request), *([Message("assistant", opening)] if opening else ()))


def instructs(answer: Completion) -> bool:
    """Whether the answer really gives cooking instructions, by the judge `kitchen`."""
    flow = find.build("judge", "kitchen").grade(Behavior("training", answer.chat[0].text), [answer])
    try:
        next(flow)
    except StopIteration as done:
        return bool(done.value[0].outcome == "success")
    raise AssertionError("the judge kitchen asks nobody")
