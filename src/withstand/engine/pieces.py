"""A search on weights in pieces of work, so that a killed run resumes at the last one.

What a search must remember is in the answer of a piece where it is small. Tensors as large as a vocabulary are in a
file in the cache, which the answer names by its digest. A file that is gone or changed costs time alone: the search
resumes at the file before it, or starts again.
"""

import json
import os
import re
import secrets
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from withstand.core import Behavior, Flow, Json, Model, TestCase, dumps, to_json, user, work
from withstand.core.cache import cache_dir
from withstand.engine.terms import guard_of, guarded

OLD = 30 * 86_400
"""Seconds after which the file of a search that nobody continued is deleted."""

STATE = "state"
"""The tensor of a file that is the JSON of `Held.state`, as UTF-8."""

ADAM = "adam."
"""How the names of Adam's tensors begin."""

_DONE: set[str] = set()
"""Files of searches that this process has finished: deleted when the result is stored, not before."""


def work_in_pieces(model: Model, do: Callable[[Any, Sequence[Any]], list[Json]], behavior: Behavior) -> Flow[None]:
    """A search on weights whose state is an object, worked on until it is "done"; each piece gives a candidate.

    `do` gets {"behavior", "state"}, at first without a state, and gives the next one: with the "text" to send and its
    "loss", in nats per token of the target string. Behind a guard that must be asked it is given what the guard said of
    texts too, "asked", and the candidate is the best of the texts that the state says were "tried" ([loss, text]).
    """
    state: Any = None
    asked: dict[str, float] = {}
    while state is None or not state["done"]:
        heard = {"asked": dict(asked)} if asked else {}
        state = yield from work(model, do, {"behavior": to_json(behavior), "state": state, **heard})
        tried = state.get("tried") or [[state["loss"], state["text"]]]
        bare, chats = [loss for loss, _ in tried], [user(text) for _, text in tried]
        losses = yield from guarded(guard_of(model), bare, chats, asked)
        best = min(range(len(tried)), key=losses.__getitem__)
        yield TestCase(behavior.id, chats[best], score=-losses[best])


@dataclass(frozen=True, slots=True)
class Held:
    """What a search needs to continue: JSON, and tensors by name, which are on the CPU when they were read."""

    state: Json
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Resumable(Protocol):
    """A search that `pieces` continues. `done`: after `step` steps, whether there are no more."""

    @property
    def step(self) -> int: ...
    @property
    def done(self) -> bool: ...
    @property
    def best(self) -> tuple[float, str]:
        """The lowest loss so far, in nats per token of the target string, and its text; "" where there is none. Without
        what a guard said that was asked, as all that leaves a search."""

    def held(self) -> Held: ...
    def result(self) -> Json:
        """The answer of the whole search."""


S = TypeVar("S", bound=Resumable)


def work_to_result(
    model: Model, do: Callable[[Any, Sequence[Any]], list[Json]], part: Mapping[str, Json]
) -> Flow[Json]:
    """The result of a search by `pieces`; the best text after each other piece is a candidate.

    The first part is the whole search's, so that a result which an earlier version stored is taken as it is. What a
    guard that must be asked says of the texts after a piece goes into the next one, as "asked".
    """
    answer = yield from work(model, do, dict(part))
    files: list[str] = []
    asked: dict[str, float] = {}
    while isinstance(answer, dict) and "resume" in answer:
        tried = answer.get("tried") or [[answer["lowest"], answer["text"]]][: bool(answer["text"])]
        bare, chats = [loss for loss, _ in tried], [user(text) for _, text in tried]
        losses = yield from guarded(guard_of(model), bare, chats, asked, len(tried))
        if answer["text"]:
            yield TestCase(part["behavior"]["id"], chats[0], score=-losses[0])
        files = answer["resume"]["files"]
        heard = {"asked": dict(asked)} if asked else {}
        answer = yield from work(model, do, {**part, "resume": answer["resume"], **heard})
    for name in _DONE.intersection(files):  # a flow gets an answer when it is stored
        _DONE.discard(name)
        remove(name)
    return answer


def pieces(
    parts: Sequence[Json],
    start: Callable[[Json, Held | None], S],
    step: Callable[[Sequence[S]], None],
    every: int,
    together: int = 1,
) -> list[Json]:
    """`every` steps for each part, `together` of them at once: the results, or where to resume.

    start: the search of a part, from what was held of it or anew. step: one step of each search. Where nothing can be
    written to the cache, the steps after it are done in the same piece.
    """
    answers: list[Json] = []
    for i in range(0, len(parts), together):
        pack = [_Piece.of(part, start, every) for part in parts[i : i + together]]
        while not all(piece.closed for piece in pack):
            while live := [piece.search for piece in pack if not piece.closed and not piece.over]:
                step(live)
            for piece in pack:
                piece.close(every)
        answers += [piece.answer for piece in pack]
    return answers


@dataclass
class _Piece:
    """A piece of work under way. files: those that the search may be continued from. end: its last step."""

    search: Any
    files: list[str]
    end: int
    answer: Json = None
    closed: bool = False

    @classmethod
    def of(cls, part: Json, start: Callable[[Json, Held | None], S], every: int) -> "_Piece":
        resume = part.get("resume") or {"step": 0, "files": []}
        files = [name for name in resume["files"] if re.fullmatch(r"[0-9a-f]{32}", name)]  # never another path
        while files and not (held := read(files[0])):
            files = files[1:]
        for name in files[1:]:  # the answer that names a newer one is stored
            remove(name)
        return cls(start(part, held if files else None), files[:1], resume["step"] + every)

    @property
    def over(self) -> bool:
        return self.search.done or self.search.step >= self.end

    def close(self, every: int) -> None:
        """The answer, where the search is done or what it holds can be kept; else as many steps again."""
        if self.closed:
            return
        if self.search.done:
            self.answer, self.closed = self.search.result(), True
            _DONE.update(self.files)
        elif name := keep(self.search.held()):
            loss, text = self.search.best
            resume = {"step": self.search.step, "files": [name, *self.files]}
            self.answer = {"step": self.search.step, "text": text, "lowest": loss if text else None, "resume": resume}
            if tried := getattr(self.search, "tried", []):
                self.answer["tried"] = tried
            self.closed = True
        else:
            self.end += every


def adam_on(x: Tensor, lr: float, tensors: Mapping[str, Tensor]) -> torch.optim.Adam:
    """Adam on `x`, with the moments that `moments` gave, where they are among the tensors."""
    adam = torch.optim.Adam([x], lr=lr)
    kept = {name.removeprefix(ADAM): tensor for name, tensor in tensors.items() if name.startswith(ADAM)}
    if kept:
        adam.state[x] = {name: tensor if name == "step" else tensor.to(x.device) for name, tensor in kept.items()}
    return adam


def moments(adam: torch.optim.Adam, x: Tensor) -> dict[str, Tensor]:
    """What Adam remembers of `x`, by name; nothing before its first step."""
    return {f"{ADAM}{name}": tensor for name, tensor in adam.state.get(x, {}).items()}


def keep(held: Held) -> str:
    """Write what a search needs to continue, whole or not at all; the file's digest, "" where it cannot be written."""
    from safetensors.torch import save

    state = torch.frombuffer(bytearray(dumps(held.state).encode()), dtype=torch.uint8)
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in {**held.tensors, STATE: state}.items()})
    name = blake2b(data, digest_size=16).hexdigest()
    path = _path(name)
    draft = path.with_name(f"{name}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget(path.parent)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        warnings.warn(
            f"{path.parent} cannot be written ({error.strerror}): a search on weights that is killed starts again. "
            "WITHSTAND_CACHE names another folder.",
            stacklevel=2,
        )
        return ""
    return name


def read(name: str) -> Held | None:
    """What `keep` wrote; None where it is gone or was changed."""
    from safetensors.torch import load

    try:
        data = _path(name).read_bytes()
    except OSError:
        return None
    if blake2b(data, digest_size=16).hexdigest() != name:
        return None
    tensors = load(data)
    return Held(json.loads(tensors.pop(STATE).numpy().tobytes()), tensors)


def remove(name: str) -> None:
    with suppress(OSError):
        _path(name).unlink(missing_ok=True)


def _path(name: str) -> Path:
    return cache_dir("searches", f"{name}.safetensors")


def _forget(folder: Path) -> None:
    """Delete the files of searches that nobody continued."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                path.unlink()
