"""What the command line shows while it works: live lines on a terminal, plain lines elsewhere. All of it on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from withstand.cli.console import line, say
from withstand.core.notice import listening
from withstand.core.outcomes import SCORED
from withstand.core.text import clock, head_of
from withstand.runner.progress import Search
from withstand.runner.tally import Tally
from withstand.store.tables import STAGES

err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

PLAIN_EVERY = 10.0
"""Seconds between progress lines where there is no terminal."""

QUIET = 5.0
"""Seconds without an answer after which a line says how long the model has been working."""

ENOUGH = 2.0
"""Seconds that the remaining time is estimated from, at least."""


class Show(Protocol):
    """Takes the tally and the stage's total."""

    def __call__(self, tally: Tally, total: int) -> None: ...


@dataclass
class Clock:
    """Estimates the remaining time of a stage from what has been done since it began here.

    What a resumed run finds in the store counts as done, and never as speed.
    """

    now: Callable[[], float] = time.monotonic
    _stage: int = 0
    _began: float = 0.0
    _done: float = 0.0
    _share: float = 0.0
    _seen: bool = field(default=False)

    def remaining(self, tally: Tally, total: int) -> str:
        """ "about 3 min 20 s left", or that it is estimated as long as nothing was finished; "" at the end."""
        share = tally.share(total)
        if not self._seen or self._stage != tally.stage:
            self._seen, self._stage, self._began, self._share = True, tally.stage, self.now(), share
        if share >= 1:
            return ""
        seconds, gained = self.now() - self._began, share - self._share
        if seconds < ENOUGH or gained <= 0:
            return "estimating time left"
        return f"about {clock(round(seconds * (1 - share) / gained))} left"

    def elapsed(self) -> str:
        return clock(round(self.now() - self._began))


def search_line(searches: list[Search]) -> str:
    """The search that moved last: "gcg on bagels: step 30 of 500, loss 1.234, 12 asks; 9 more searches"."""
    if not searches:
        return ""
    search = max(searches, key=lambda running: running.moved)
    parts = []
    if search.step:
        parts.append(f"step {search.step:,}" + (f" of {search.steps:,}" if search.steps else ""))
    if search.loss is not None:
        parts.append(f"best loss {search.loss:.3f}")
    elif search.score is not None:
        parts.append(f"best score {search.score:.3g}")
    if search.asks:
        bound = f" of at most {search.most:,}" if search.most and not search.step else ""
        parts.append(f"{search.asks:,}{bound} asks")
    more = len(searches) - 1
    others = f"; {more} more {'search' if more == 1 else 'searches'}" if more else ""
    waited = time.monotonic() - search.moved
    if waited >= QUIET:
        parts.append(f"the model has been working for {clock(round(waited))}")
    return f"{head_of(search.attack)} on {search.behavior}: {', '.join(parts) or 'started'}{others}"


def rates_line(tally: Tally, now: float | None = None) -> str:
    """Rate, tokens, cost, failures and ASR so far."""
    seconds = max((time.monotonic() if now is None else now) - tally.started, 1e-6)
    parts = [f"{tally.asks / seconds:.3g} asks/s"] if tally.asks else []
    if tally.tokens:
        parts.append(f"{tally.tokens:,} tokens")
    if tally.cost:
        parts.append(f"${tally.cost:.2f}")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    scored = sum(tally.labels[name] for name in SCORED)
    if scored:
        parts.append(f"broken {tally.labels['success']} of {scored} so far")
    return ", ".join(parts)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Show]:
    """Live lines on a terminal, plain lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield lambda *_: None
    elif err.is_terminal:
        with Live(console=err, refresh_per_second=8, transient=False) as live:
            shown = _LiveLines()

            def show(tally: Tally, total: int) -> None:
                live.update(shown.of(tally, total))

            with listening(lambda text: live.update(Text(line(text), no_wrap=True, overflow="ellipsis"))):
                yield show
    else:
        plain = _PlainLines()
        with listening(plain.tell):
            yield plain.show


class _PlainLines:
    """A line at most every `PLAIN_EVERY` seconds, and one at the end of a stage."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shown_at, self.ended, self.told_at = 0.0, 0, 0.0

    def show(self, tally: Tally, total: int) -> None:
        done, now = tally.done + tally.failed, time.monotonic()
        left = self.clock.remaining(tally, total)
        ends = done >= total > 0 and self.ended != tally.stage
        if not ends and now - self.shown_at < PLAIN_EVERY:
            return
        self.shown_at, self.ended = now, tally.stage if done >= total else self.ended
        parts = [search_line(tally.searches), left, rates_line(tally)]
        say(f"{STAGES[tally.stage]} {done}/{total}  {'; '.join(filter(None, parts))}".rstrip())

    def tell(self, text: str) -> None:
        if time.monotonic() - self.told_at >= PLAIN_EVERY:
            self.told_at = time.monotonic()
            say(text)


class _LiveLines:
    """A bar for each stage, and below the one that runs its search and its rates; each line as wide as the terminal."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stages: dict[int, tuple[int, int, float, str]] = {}

    def of(self, tally: Tally, total: int) -> Group:
        left = self.clock.remaining(tally, total)
        done = tally.done + tally.failed
        self.stages[tally.stage] = (done, max(total, done), tally.share(total), f"{self.clock.elapsed()} {left}")
        table = Table.grid(padding=(0, 1))
        for stage, (rows, most, share, times) in self.stages.items():
            bar = ProgressBar(total=1.0, completed=1.0 if rows >= most else share, width=12)
            table.add_row(f"{STAGES[stage]:>12}", bar, f"{rows}/{most}", times.strip())
        texts = filter(None, (search_line(tally.searches), rates_line(tally)))
        return Group(table, *(Text(line(text), no_wrap=True, overflow="ellipsis") for text in texts))
