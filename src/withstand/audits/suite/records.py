"""What an audit of suites reads, and what it says of each fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from withstand.core import Behavior, Json

State: TypeAlias = Literal["pass", "warn", "fail", "not known"]
LEAST = 30
"""Items, at least, by which anything is said of a category: the interval of a rate over fewer is 35 points or wider."""


@dataclass(frozen=True, slots=True)
class Item:
    """A behavior of one of the audited suites.

    suite: its label.   categories: of the policy, `uncovered` where it has none.   own: whether the item or its suite
    names its category; else its whole suite is mapped as one.   closed: the answer is a choice among given ones.
    constrained: its success breaks a constraint that the instruction states.   deployed: it is asked of an application,
    whose own instruction says what it is for.   group: items of one group stand or fall together, or are copies.
    """

    suite: str
    behavior: Behavior
    categories: tuple[str, ...]
    judge: str
    own: bool
    closed: bool
    constrained: bool
    deployed: bool = False
    group: int = 0

    @property
    def name(self) -> str:
        """Suite and id: what a report may say of it. Its text is in no report."""
        return f"{self.suite}:{self.behavior.id}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A table that a finding rests on. columns: their headings; a column of numbers is aligned as such."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Json, ...]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one fault.

    id: E1 to E7, `copies` or `splits`.   fault: what would be wrong with the suite.   answer: what was seen, in a
    sentence.   todo: what to do about it, "" for nothing.   value, ends: the figure that decides, and the 95% limits of
    an estimate; None where it is no estimate, or not known.
    """

    id: str
    fault: str
    state: State
    answer: str
    todo: str = ""
    value: float | None = None
    ends: tuple[float, float] | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A logged prompt. account: who sent it, or its conversation, or its line: what texts are taken together by."""

    text: str
    account: str


@dataclass(frozen=True, slots=True)
class Logs:
    """What an audit keeps of logs: counts, and a random sample of prompts.

    prompts: of all exchanges.   flagged: of those with a label that flags.   labeled: exchanges with any label.
    flags: accounts and what was flagged in one exchange of theirs, counted.   strange: labels that no category of the
    policy has, counted.   seen: categories of any label, also of one that does not flag.   odd: what could not be read,
    or was assumed, counted.   empty: exchanges without a prompt.   nameless: exchanges without an account.
    """

    names: tuple[str, ...]
    exchanges: int
    prompts: tuple[Prompt, ...]
    flagged: tuple[Prompt, ...]
    labeled: int = 0
    flags: Mapping[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    strange: Mapping[str, int] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    odd: Mapping[str, int] = field(default_factory=dict)
    empty: int = 0
    nameless: int = 0


def by_share(value: float, passes: float, warns: float) -> State:
    """The state of a share of which more is better."""
    return "pass" if value >= passes else "warn" if value >= warns else "fail"
