"""Flows side by side: what they ask goes out together, and an error meets the flow that it belongs to."""

import pytest

from withstand.core import AskError, Completion, Sampling, Work, Worked, ask, user
from withstand.defenses._abreast import abreast
from withstand.models.scripted import Scripted

A, B = Scripted(), Scripted(reply="b")


def said(*steps):
    """Asks each (model, text) in turn; returns the texts of the answers, "lost" for an error."""
    texts = []
    for model, text in steps:
        try:
            [answer] = yield from ask(model, [user(text)], Sampling())
            texts.append(answer.text)
        except AskError as error:
            texts.append(f"lost {error}")
    return texts


def driven(flow, broken=()):
    """Answers each chat with its text in capitals; an ask that holds a broken one fails as a whole."""
    seen, value, error = [], None, None
    while True:
        try:
            item = flow.throw(error) if error else flow.send(value)
        except StopIteration as done:
            return done.value, seen
        value, error = None, None
        if isinstance(item, Work):
            seen.append("work")
            value = Worked(item.part)
            continue
        texts = [chat[-1].text for chat in item.chats]
        seen.append(texts)
        if any(text in broken for text in texts):
            error = AskError(next(text for text in texts if text in broken))
        else:
            value = [Completion(chat, text.upper()) for chat, text in zip(item.chats, texts, strict=True)]


def test_flows_ask_together_as_long_as_they_ask_alike():
    flows = [said((A, "a"), (A, "b")), said(), said((A, "c")), said((B, "d"), (A, "e"))]
    results, seen = driven(abreast(flows))
    assert results == [["A", "B"], [], ["C"], ["D", "E"]]
    assert seen == [["a", "c"], ["d"], ["b", "e"]]
    assert driven(abreast([])) == ([], [])


def test_an_error_meets_its_own_flow_alone():
    results, seen = driven(abreast([said((A, "a"), (A, "x")), said((A, "b"))]), broken=("b",))
    assert results == [["A", "X"], ["lost b"]]
    assert seen == [["a", "b"], ["a"], ["b"], ["x"]]

    def strict(text):
        return (yield from ask(A, [user(text)], Sampling()))

    with pytest.raises(AskError, match="b"):
        driven(abreast([strict("a"), strict("b")]), broken=("b",))


def test_work_goes_out_by_itself():
    def works(part):
        return (yield Work(A, A.generate, part)).value

    assert driven(abreast([works(1), works(2)])) == ([1, 2], ["work", "work"])
