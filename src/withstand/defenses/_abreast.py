"""Flows side by side, so that a guard asks about all prompts of a search at once and still knows each one's cost."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from withstand.core import Ask, AskError, Flow

T = TypeVar("T")


def abreast(flows: Sequence[Flow[T]]) -> Flow[list[T]]:
    """What each flow returns. Asks that wait for one model with one sampling go out as one.

    Where such an ask fails, each flow's own is tried alone, so that the error meets the flow whose chat it is.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Any] = {}

    def go_on(place: int, given: Any) -> None:
        """Hand a flow what it waited for, an error included."""
        try:
            flow = flows[place]
            waiting[place] = flow.throw(given) if isinstance(given, AskError) else flow.send(given)
        except StopIteration as done:
            results[place] = done.value

    for place in range(len(flows)):
        go_on(place, None)
    while waiting:
        items, waiting = waiting, {}
        for places in _groups(items):
            for place, given in zip(places, (yield from _asked([items[place] for place in places])), strict=True):
                go_on(place, given)
    return [results[place] for place in range(len(flows))]


def _groups(items: dict[int, Any]) -> Iterable[list[int]]:
    """The places whose items can go out as one, in their order."""
    groups: dict[Any, list[int]] = {}
    for place, item in items.items():
        alike = (item.model, item.sampling, item.spared) if isinstance(item, Ask) else place
        groups.setdefault(alike, []).append(place)
    return groups.values()


def _asked(items: Sequence[Any]) -> Flow[list[Any]]:
    """The answer to each item, or the error that came in its place."""
    if len(items) > 1:
        try:
            answers = iter((yield replace(items[0], chats=[chat for item in items for chat in item.chats])))
            return [[next(answers) for _ in item.chats] for item in items]
        except AskError:
            pass
    given: list[Any] = []
    for item in items:
        try:
            given.append((yield item))
        except AskError as error:
            given.append(error)
    return given
