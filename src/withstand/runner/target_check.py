"""What works with a target: `withstand target check`."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from withstand.core import Chat, Completion, Message, Sampling, SpecError, WithstandError, user
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.spec import read_spec

QUESTION = "Name three vegetables that go into a soup."
OPENING = "Three vegetables:"
WORD = "fennel"
LACKS = "the target does not offer it"

Answer = Completion | WithstandError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: whether it works ("yes", "no", "taken", "unknown"), and a note."""

    what: str
    works: str
    note: str

    def json(self) -> dict[str, str]:
        return {**asdict(self), "note": " ".join(self.note.split())[:200]}


def target_of(spec: str) -> Any:
    """The target that `spec` names; of a spec file, its first. Raises `SpecError` for a target that answers nothing."""
    given: Any = spec
    if spec.endswith(".toml"):
        targets = read_spec(spec).get("target")
        given = targets[0] if isinstance(targets, list) and targets else targets or ""
    model = find.build("target", {k: v for k, v in spec_of(given).items() if k != "defense"})
    if "vectors" in model.gives:
        raise SpecError(f"{spec} encodes texts and answers nothing", hint="name a target that answers")
    model.check()
    return model


def check_target(model: Any) -> list[Check]:
    """Send three harmless asks: a plain one; the same with its seed and log-probabilities; one with system message and
    prefix. The first check says whether the target answers at all."""
    offers = model.gives & {"logprobs", "system", "prefill"}
    start = time.perf_counter()
    first = _ask(model, user(QUESTION), Sampling(max_tokens=32, temperature=1.0))
    seconds = time.perf_counter() - start
    if isinstance(first, WithstandError):
        return [Check("chat", "no", f"{first}" + (f" -> {first.hint}" if first.hint else ""))]
    wanted = 2 if "logprobs" in offers else 0
    again = _ask(model, user(QUESTION), Sampling(max_tokens=32, temperature=1.0, logprobs=wanted))
    opening = (Message("assistant", OPENING),) if "prefill" in offers else ()
    system = (Message("system", f"End every answer with the word {WORD}."),) if "system" in offers else ()
    third = _ask(model, (*system, *user(QUESTION), *opening), Sampling(max_tokens=32))
    tried = (
        ("system prompt", "system", third, _system_prompt),
        ("prefix", "prefill", third, _prefix),
        ("logprobs", "logprobs", again, _logprobs),
    )
    abilities = [
        Check(what, *(_works(answer, look) if name in offers else ("no", LACKS))) for what, name, answer, look in tried
    ]
    return [
        Check("chat", _yes(bool(first.text or first.tool_calls)), first.text or f"an empty answer, {first.finish}"),
        *abilities,
        _seeds(first, again),
        _context_length(model),
        _latency(first, seconds),
    ]


def _ask(model: Any, chat: Chat, sampling: Sampling) -> Answer:
    try:
        return model.generate([chat], sampling, [1])[0]  # type: ignore[no-any-return]
    except WithstandError as error:
        return error


def _yes(works: bool) -> str:
    return "yes" if works else "no"


def _works(answer: Answer, look: Callable[[Completion], tuple[str, str]]) -> tuple[str, str]:
    """Whether the ability that an answer was asked for works, as `look` sees it, and a note."""
    return ("no", str(answer)) if isinstance(answer, WithstandError) else look(answer)


def _system_prompt(answer: Completion) -> tuple[str, str]:
    return ("yes", "obeyed") if WORD in answer.text.lower() else ("taken", "sent, not obeyed")


def _prefix(answer: Completion) -> tuple[str, str]:
    return ("no", "it repeats the prefix") if answer.text.strip().startswith(OPENING) else ("yes", answer.text)


def _logprobs(answer: Completion) -> tuple[str, str]:
    most = max((len(position) for position in answer.logprobs), default=0)
    return ("yes", f"{most} a position") if most else ("no", "the answer has none")


def _seeds(first: Completion, again: Answer) -> Check:
    if isinstance(again, WithstandError):
        return Check("seeds", "unknown", "the second ask failed")
    same = again.text == first.text
    return Check("seeds", _yes(same), f"the same seed gave {'the same answer' if same else 'another answer'}")


def _context_length(model: Any) -> Check:
    window = getattr(model.load(), "window", 0) if "weights" in model.gives else 0
    note = f"{window} tokens" if window else "the target does not say"
    return Check("context length", "yes" if window else "unknown", note)


def _latency(first: Completion, seconds: float) -> Check:
    tokens = f", {first.prompt_tokens} + {first.answer_tokens} tokens" if first.tokens else ""
    return Check("latency", "yes", f"{seconds:.2f} s for the first answer{tokens}")
