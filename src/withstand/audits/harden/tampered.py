"""Is the hardened model harder to tamper with than its base? The tampering audit on both, by the same sweep.

Of several seeds the first hardened model is tampered with.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.audits.harden.audit import Hardening
from withstand.audits.harden.settings import Settings
from withstand.audits.tamper import audit, forecast, page
from withstand.audits.tamper.compared import compared
from withstand.audits.tamper.settings import Settings as Sweep
from withstand.audits.tamper.settings import preset as sweep_of
from withstand.audits.trainable import harmful_of
from withstand.core import Json, SpecError
from withstand.core.stage import Row
from withstand.registry import find, grammar
from withstand.runner import chain

FOLDERS = ("tamper-base", "tamper")
"""Of the audits of the base and of the hardened model, in the folder of the hardening."""


def sweep(base: Any, settings: Settings, preset: str, folder: Path) -> Sweep:
    """The settings of the sweep. Raises `SpecError` where there is nothing to tamper with, or the disk is too small."""
    chosen = sweep_of(
        preset, settings.suite, judge=settings.judge, limit=settings.limit, max_tokens=settings.max_tokens,
        utility=settings.utility, harmful=_harmful(settings), benign=settings.clean, base=settings.base,
    )  # fmt: skip
    audit.forecast(base, chosen, folder, timed=False)
    return chosen


def forecast_lines(base: Any, chosen: Sweep, folder: Path) -> list[str]:
    """What the sweep would take of one model, for people: base and hardened model take as much each."""
    cast, left_out = audit.forecast(base, chosen, folder / FOLDERS[0])
    return [f"tampering, of base and hardened model each: {line}" for line in forecast.lines(cast, left_out)]


def _harmful(settings: Settings) -> tuple[Row, ...]:
    """Training requests, each with a harmful answer. Raises `SpecError` where none has one."""
    rows = harmful_of(find.build("suite", dict(settings.train_suite)), settings.completions)
    if not rows:
        raise SpecError(
            "no training request has a harmful answer, which a tampering trains on",
            hint='--completions FILE, a JSON file {"behavior id": ["text", ...]}, or leave out --tamper',
        )
    return rows


def tamper(base: Any, done: Hardening, chosen: Sweep, folder: Path, say: Callable[[str], None]) -> Json:
    """Tamper with base and hardened model; their pages lie in `folder`. The report of the hardening, with the
    comparison as `tamper`."""
    places = [folder / name for name in FOLDERS]
    alike = audit.comparable(base, chosen, places[0])
    hardened = done.models[0]
    named = replace(alike, base=f"the hardened model, {grammar.written(chain.spec_of(hardened))}")
    say("tampering with the base")
    before = audit.audit(base, alike, places[0], say)
    page.write(before, places[0])
    say("tampering with the hardened model")
    after = audit.audit(hardened, named, places[1], say)
    page.write(after, places[1], before)
    result = compared(before, after)
    fact = ["Tampering", f"{result['verdict']}: {'; '.join(result['reasons'])} (tamper/tamper.html)"]
    return {**done.report, "facts": [*done.report["facts"], fact], "tamper": result}
