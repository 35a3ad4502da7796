"""What was done against a misuse, and how its effect will be judged, written down before the data is looked at."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError, from_json
from withstand.monitor.intake.salt import Hasher
from withstand.redteam.dates import DAY, moment
from withstand.store.revisions import append, records
from withstand.store.store import Store

KIND = "mitigation"
Design: TypeAlias = Literal["before-after", "randomized", "staged"]
OutcomeName: TypeAlias = Literal["flags", "prevalence", "tokens", "refusals"]
Unit: TypeAlias = Literal["account", "key", "end_user", "app"]
HASHED = ("account", "key", "end_user")
FILTERS = ("app", "model", "use_case", "locale")


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A mitigation and its test. since: seconds since 1970, UTC.   category: "" for any.   outcome: what it should
    change, in the direction `better`.   period: seconds, of a series or a panel.

    margin: differences smaller than this do not matter, in the outcome's unit; None: not stated.   population: ""
    or COLUMN=VALUE, whom it is about.   starts: of each unit when it was treated, None for a control; empty where all
    are treated at `since`.   rest: whether units that are not listed are controls.   labeler: whose flags count, "" for
    all.
    """

    id: str
    category: str
    since: float
    design: Design = "before-after"
    outcome: OutcomeName = "flags"
    better: Literal["lower", "higher"] = "lower"
    unit: Unit = "account"
    period: int = DAY
    margin: float | None = None
    population: str = ""
    hypothesis: str = ""
    mitigation: str = ""
    starts: Mapping[str, float | None] = field(default_factory=dict)
    rest: bool = True
    labeler: str = ""

    def __post_init__(self) -> None:
        if self.design != "before-after" and not any(start is not None for start in self.starts.values()):
            raise SpecError(
                f"a {self.design} design needs to know who was treated",
                hint="give --treated FILE, a CSV of unit[,date]",
            )
        if self.margin is not None and self.margin <= 0:
            raise SpecError(f"margin is {self.margin}", hint="it is above 0; in percent points for rates")
        if self.population and self.population.partition("=")[0] not in FILTERS:
            hint = f"write COLUMN=VALUE with one of {', '.join(FILTERS)}"
            raise SpecError(f"population is {self.population!r}", hint=hint)


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration. created: seconds since 1970.   until: the end of the traffic that was read by then, None for
    none: whoever registered could have seen so much."""

    mitigation: Mitigation
    created: float
    until: float | None

    @property
    def before_data(self) -> bool:
        """Whether no exchange from the mitigation on was read by then."""
        return self.until is None or self.until < self.mitigation.since


def register(store: Store, monitor: str, mitigation: Mitigation, created: float, until: float | None) -> Registered:
    """Write it to the store; the same content again changes nothing. Another one of the name is its next revision."""
    for past in registered(store, monitor):
        if past.mitigation == mitigation:
            return past
    append(store, KIND, mitigation.id, monitor, created, {"mitigation": asdict(mitigation), "until": until})
    return Registered(mitigation, created, until)


def registered(store: Store, monitor: str) -> list[Registered]:
    """The mitigations of a monitor, in their last revisions, oldest first."""
    return [
        Registered(from_json(Mitigation, last.value["mitigation"]), last.created, last.value["until"])
        for last in records(store, KIND, monitor)
    ]


def read_units(
    path: str | Path, unit: Unit, since: float, hasher: Hasher | None
) -> tuple[dict[str, float | None], bool]:
    """The units of a CSV file, `unit[,date]` in each line, and whether all others are controls.

    A line without a date is treated at `since`; one with `control` instead of it is a control, and then units that are
    not listed are left out. hasher: hashes names as the log has them; a name of 20 hexadecimal digits is hashed
    already.
    """
    starts: dict[str, float | None] = {}
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), 1):
            name, date = (*(cell.strip() for cell in row), "", "")[:2]
            if not name or (number == 1 and (name == unit or date == "date")):
                continue
            try:
                start = None if date == "control" else moment("date", date, utc=True).timestamp() if date else since
            except SpecError as error:
                raise SpecError(f"{path}, line {number}: {error}", hint=error.hint) from None
            starts[_hashed(name, unit, hasher)] = start
    return starts, None not in starts.values()


def _hashed(name: str, unit: Unit, hasher: Hasher | None) -> str:
    is_hash = len(name) == 20 and all(letter in "0123456789abcdef" for letter in name)
    return name if unit not in HASHED or is_hash or hasher is None else hasher.name(unit, name)


def content(mitigation: Mitigation) -> Json:
    """A mitigation for machines, with the number of its units instead of their names."""
    value = asdict(mitigation)
    starts = value.pop("starts")
    return {**value, "treated": sum(start is not None for start in starts.values()), "listed": len(starts)}
