"""An attack inside another: its chats are changed on their way to the target, the answers on their way back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from withstand.core import Ask, Attack, Behavior, Chat, Completion, Flow, SpecError, Target, TestCase, intercept, user
from withstand.core.records import user_turns

Wrap = Callable[[Sequence[Chat]], Flow[list[Chat | None]]]
Unwrap = Callable[[Sequence[str]], Flow[list[str]]]


def check_inner(name: str, attack: Attack | None) -> None:
    """Raise `SpecError` for an attack whose chats nobody may change: one of all behaviors, or one tuned on weights."""
    if attack is not None and not hasattr(attack, "run"):
        raise SpecError(
            f"{name}: {type(attack).__name__} attacks all behaviors together", hint="give an attack on one behavior"
        )
    if attack is not None and "weights" in attack.needs:
        raise SpecError(
            f"{name}: {type(attack).__name__} is tuned by the weights on the very chat that {name} would change",
            hint="give a black-box attack",
        )


def inner(attack: Attack | None, behavior: Behavior, target: Target) -> Flow[None]:
    """The attack's flow; without one, the behavior itself as the only test case."""
    if attack is None:
        yield TestCase(behavior.id, user(behavior.prompt()))
    else:
        yield from attack.run(behavior, target)


def instead(chat: Chat, turns: Chat) -> Chat:
    """`chat` with `turns` in the place of its last user turn."""
    if not (places := user_turns(chat)):
        return chat
    return (*chat[: places[-1]], *turns, *chat[places[-1] + 1 :])


def around(flow: Flow[None], wrap: Wrap, unwrap: Unwrap | None = None, draw_from: Target | None = None) -> Flow[int]:
    """Run `flow` with its chats wrapped; returns how many of its test cases went out.

    wrap: gives for each chat what is sent instead, None where there is none: then a test case is dropped, and an ask
        is answered by an empty completion, so that the other streams of `flow` go on. Asked once for each chat.
    unwrap: what `flow` and the judges read instead of each answer's text.
    draw_from: asked for each test case, which then carries its answer, unwrapped. A candidate that `flow` asked about
        itself carries that answer.
    """
    sent: dict[Chat, Chat | None] = {}
    heard: dict[Chat, Completion] = {}
    cases = 0

    def wrapped(chats: Sequence[Chat]) -> Flow[list[Chat | None]]:
        new = [chat for chat in dict.fromkeys(chats) if chat not in sent]
        if new:
            sent.update(zip(new, (yield from wrap(new)), strict=True))
        return [sent[chat] for chat in chats]

    def asked(item: Ask) -> Flow[list[Completion]]:
        outer = yield from wrapped(item.chats)
        going = tuple(chat for chat in outer if chat is not None)
        answers: list[Completion] = (yield replace(item, chats=going)) if going else []
        texts = (yield from unwrap([answer.text for answer in answers])) if unwrap else [a.text for a in answers]
        came = iter([replace(answer, text=text) for answer, text in zip(answers, texts, strict=True)])
        answers = [
            Completion(chat, "") if out is None else replace(next(came), chat=chat)
            for chat, out in zip(item.chats, outer, strict=True)
        ]
        heard.update(zip(item.chats, answers, strict=True))
        return answers

    def handle(item: Any) -> Flow[Any]:
        nonlocal cases
        if isinstance(item, Ask) and isinstance(item.model, Target):
            return (yield from asked(item))
        if not isinstance(item, TestCase):
            return (yield item)
        (chat,) = yield from wrapped([item.chat])
        if chat is None:
            return None
        completion = item.completion
        if completion is None and draw_from is not None:
            answer = heard.get(item.chat) if item.score is not None else None
            completion = answer or (yield from asked(Ask(draw_from, (item.chat,), draw_from.sampling)))[0]
        cases += 1
        return (yield replace(item, chat=chat, completion=completion and replace(completion, chat=chat)))

    yield from intercept(flow, handle)
    return cases
