"""A search on weights in pieces of work, so that a killed run goes on at the last one."""

from collections.abc import Callable, Sequence
from typing import Any

from withstand.core import Behavior, Flow, Json, Model, TestCase, to_json, user, work


def work_in_pieces(model: Model, do: Callable[[Any, Sequence[Any]], list[Json]], behavior: Behavior) -> Flow[None]:
    """A search on weights whose state is an object, worked on until it is "done"; each piece gives a candidate.

    `do` gets {"behavior", "state"}, at first without a state, and gives the next one: with the "text" to send and its
    "loss", in nats per token of the target string.
    """
    state: Any = None
    while state is None or not state["done"]:
        state = yield from work(model, do, {"behavior": to_json(behavior), "state": state})
        yield TestCase(behavior.id, user(state["text"]), score=-state["loss"])
