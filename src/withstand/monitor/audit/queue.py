"""The queue of a monitor as people meet it: what is next, what they said of it, and the words of the policy."""

from collections.abc import Mapping
from dataclasses import dataclass

from withstand.core import SpecError
from withstand.core.taxonomy import UNCOVERED
from withstand.monitor.audit.records import Item, Opinion, add_opinions, items_of, left_for, opinions_of
from withstand.redteam.policy.records import Policy
from withstand.results.exposure import Reader, Topic
from withstand.store.revisions import append, records
from withstand.store.store import Store

WORDS = "audit-policy"
"""Kind of the record of what people choose from."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A category that a person may choose, in the words of the policy."""

    id: str
    title: str
    definition: str


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of a monitor, with the choices and the version of the policy that labels are given by."""

    monitor: str
    policy: str
    choices: tuple[Choice, ...]
    items: tuple[Item, ...]
    opinions: tuple[Opinion, ...]

    def left(self, labeler: str) -> list[Item]:
        """What a person has to label, in order."""
        return left_for(self.items, [word for word in self.opinions if word.policy == self.policy], labeler)

    def labeled(self, labeler: str) -> int:
        """How many a person has labeled by this version of the policy."""
        return sum(word.labeler == labeler and word.policy == self.policy for word in self.opinions)


def keep_words(store: Store, monitor: str, policy: Policy, now: float) -> None:
    """Keep the words of the policy beside the queue, unless they stand."""
    value = {
        "policy": policy.header.version,
        "choices": [
            {"id": category.id, "title": category.title, "definition": category.definition}
            for category in sorted(policy.categories.values(), key=lambda category: category.id == UNCOVERED)
        ],
    }
    if not any(last.value == value for last in records(store, WORDS, monitor)):
        append(store, WORDS, monitor, monitor, now, value)


def queue_of(store: Store, monitor: str) -> Queue:
    """The queue of a monitor. Raises `SpecError` where there is none."""
    words = records(store, WORDS, monitor)
    if not words:
        raise SpecError(
            f"nothing of {monitor!r} waits for labels", hint="withstand monitor audit --take 100 draws some"
        )
    value = words[-1].value
    choices = tuple(Choice(part["id"], part["title"], part["definition"]) for part in value["choices"])
    items, opinions = tuple(items_of(store, monitor)), tuple(opinions_of(store, monitor))
    return Queue(monitor, value["policy"], choices, items, opinions)


def judge(reader: Reader, item: str, sides: Mapping[str, tuple[str, ...] | None]) -> None:
    """Count an exchange as its reader says that it is, by the categories of each side."""
    categories = tuple(category for chosen in sides.values() for category in chosen or ())
    reader.judge(item, Topic(categories), True if categories else None if None in sides.values() else False)


def label(
    store: Store, queue: Queue, labeler: str, answers: Mapping[str, Mapping[str, tuple[str, ...] | None]]
) -> None:
    """Keep what a person said, by item: the categories of each side, none for a clean one, None for unsure.

    Raises `SpecError` for an item that is not in the queue, or a category that the policy has not.
    """
    ids, allowed = {item.id for item in queue.items}, [choice.id for choice in queue.choices]
    opinions = []
    for item, sides in answers.items():
        if item not in ids:
            raise SpecError(f"the exchange {item!r} is not in the queue of {queue.monitor}", hint="draw it first")
        for categories in sides.values():
            for category in categories or ():
                if category not in allowed:
                    raise SpecError(f"the policy has no {category!r}", hint=f"one of {', '.join(allowed)}")
        prompt, completion = (
            None if (chosen := sides[side]) is None else tuple(sorted(set(chosen))) for side in ("prompt", "completion")
        )
        opinions.append(Opinion(item, labeler, queue.policy, prompt, completion))
    add_opinions(store, queue.monitor, opinions)
