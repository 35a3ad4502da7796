"""How people who read harmful texts are protected: each person's day and choices; an admin sets what holds for all."""

import time
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from withstand.core import SpecError
from withstand.core.text import head_of
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.numbers import whole
from withstand.explorer.security import Refused
from withstand.monitor.audit.queue import queue_of
from withstand.results.exposure import (
    DAY,
    OF_SUITE,
    Settings,
    choose,
    keep_settings,
    named,
    people_of,
    read_settings,
)

PATH = "/labelers"
LISTS = ("severe", "mild", "opt_in")
DAYS = 7
"""Days of the table of people."""
MOST = 200
"""Entries of a list, and characters of one."""


def page(asked: PageRequest) -> Response:
    """The person's own day and choices, and the settings."""
    asked.need("labeler")
    return _page(asked)


def _page(asked: PageRequest, status: int = 200, **values: Any) -> Response:
    store, now = asked.explorer.store, time.time()
    reader = team.reader_at(asked, "")
    admin = asked.may("admin")
    people = people_of(store, now, DAYS) if admin else {}
    return asked.page(
        "labelers", status, reader=reader, settings=reader.settings, is_set=read_settings(store) is not None,
        people=people, days=[now - day * DAY for day in range(DAYS)], admin=admin,
        unknown=_unknown(asked, reader.settings),
        **{"problem": "", "hint": "", **values},
    )  # fmt: skip


def _unknown(asked: PageRequest, settings: Settings) -> list[str]:
    """Entries of the settings that fit nothing that this explorer has read: they may be misspelled, and protect from
    nothing."""
    topics = set(_topics(asked))
    entries = {entry for name in LISTS for entry in getattr(settings, name)} - set(Settings().mild)
    return sorted(entry for entry in entries if not any(topic == entry or named((entry,), topic) for topic in topics))


def _topics(asked: PageRequest) -> Iterator[str]:
    """The categories of this store's runs, as far as they are read, of the plan and of the monitors; and the suites."""
    for run in asked.explorer.index.runs():
        for suite in run.plan["suites"]:
            yield OF_SUITE + head_of(suite["name"])
        if indexed := asked.explorer.index.of_run(run, wait=0.0):
            yield from (category for categories in indexed.categories for category in categories)
    for harm in asked.explorer.plan.harms if asked.explorer.plan else ():
        yield from (harm.id, harm.category)
    for monitor in asked.explorer.audits:
        yield from (choice.id for choice in queue_of(asked.explorer.store, monitor).choices)


def save(asked: PageRequest) -> Response:
    """Keep what a person chooses to read; or what an admin sets for all."""
    asked.need("labeler")
    store, form, now = asked.explorer.store, asked.form, time.time()
    if form.get("of") == "me":
        reader = team.reader_at(asked, "")
        choose(store, reader.person, [entry for entry in reader.settings.opt_in if f"choose:{entry}" in form], now)
        return asked.to(PATH)
    asked.need("admin")
    numbers = {name: whole(str(form.get(name, "")).strip(), least=-1) for name in ("daily_cap", "rotate")}
    lists = {name: _entries(str(form.get(name, ""))) for name in LISTS}
    for name, number in numbers.items():
        if number is None:
            return _page(asked, 400, problem=f"{name} is {form.get(name)!r}", hint="write a whole number", typed=form)
    try:
        settings = Settings(**numbers, **lists)  # type: ignore[arg-type] # no None is left
    except SpecError as error:
        return _page(asked, 400, problem=str(error), hint=error.hint, typed=form)
    keep_settings(store, settings, asked.who, now)
    return asked.to(PATH)


def _entries(text: str) -> tuple[str, ...]:
    """The entries of a list, one a line or behind a comma."""
    entries = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.replace(",", "\n").splitlines()))))
    if len(entries) > MOST or any(len(entry) > MOST for entry in entries):
        raise Refused(400, "a list is too long", f"{MOST} entries of {MOST} characters at most")
    return entries


ROUTES = ((PATH, page, ["GET"]), (PATH, save, ["POST"]))
