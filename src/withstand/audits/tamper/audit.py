"""How much does it take to undo this model's guard? `withstand audit tamper`. Qi et al. 2023, arXiv:2310.03693; Bowen
et al. 2024, arXiv:2408.02946; TamperBench, arXiv:2602.06911.

A sweep of trainings read at several steps, edits of weights, and perturbed embeddings and hidden states; the result is
the worst of them at a bounded loss of utility. Nothing that it makes is exported: weights are deleted once they are
measured, and are marked as tampered as long as they stay.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from withstand.audits import files
from withstand.audits.tamper import forecast as forecasts
from withstand.audits.tamper import rows, worst
from withstand.audits.tamper.compared import FILES
from withstand.audits.tamper.losses import counts
from withstand.audits.tamper.measure import Measure
from withstand.audits.tamper.records import Tampered
from withstand.audits.tamper.settings import Settings
from withstand.audits.tamper.soft import soft
from withstand.audits.tamper.sweep import Sweep
from withstand.core import Json, SpecError, digest, to_json
from withstand.core.optional import optional
from withstand.core.stage import Row, marked_name
from withstand.core.text import count
from withstand.registry import find
from withstand.results.cells import plain
from withstand.runner import chain

Say = Callable[[str], None]
WEIGHTS = "weights are needed: whoever holds only an API cannot tamper with them; use hf:FOLDER or hf:HUB_ID"


def audit(model: Any, settings: Settings, folder: Path, say: Say = lambda _: None) -> Json:
    """The report of `worst.report`, with `facts`, `left_out`, `settings` and `cost` beside; files lie in `folder`.

    Raises `SpecError`, before anything is asked, for a model without weights, rows that the test holds, and a sweep
    that the disk does not hold.
    """
    check(model)
    harmful, _ = rows.harmful_rows(settings)
    chosen = forecasts.chosen(model, settings, harmful)
    begun = (folder / "audit.db").exists()
    cast = forecasts.forecast(model, settings, chosen, harmful, timed=not begun)
    if not begun:  # else each training is checked that is still to be done
        forecasts.check(cast.disk, folder, forecasts.what(cast))
    for line in forecasts.lines(cast, chosen.left_out):
        say(line)
    files.make(folder)
    say("asking the model as it is")
    measure = Measure(model, settings, folder)
    material = rows.material(model, settings, measure.exam.store)
    sweep = Sweep(model, material, measure, settings, folder, say)
    cells = [measure.base, *sweep.words(chosen.trainings), *sweep.cells(chosen.trainings)]
    cells += soft(measure, model, replace(settings, soft=chosen.soft), say)
    report = worst.report(cells, settings.bound, settings.fail)
    whole: Json = plain(report | {
        "facts": facts(model, settings, material, measure, cells), "left_out": list(chosen.left_out),
        "settings": settings_json(settings), "cost": cast,
        "texts": {"of": digest(to_json(measure.clean)), **kept_of(measure.base)},
    })  # fmt: skip
    return whole


def comparable(base: Any, settings: Settings, folder: Path) -> Settings:
    """The settings to audit a base with in `folder`, and alike what a hardening made of it: harmless rows, texts to
    keep and the reader of answers are the base's, unless they were given. A hardened model may find any harmful answer
    unlikely, and would call it garbage."""
    check(base)
    measure = Measure(base, settings, folder)
    benign = settings.benign or rows.material(base, settings, measure.exam.store).benign
    clean = settings.clean or tuple(map(Row, measure.clean))
    return replace(settings, benign=benign, clean=clean, reader=settings.reader or base)


def forecast(
    model: Any, settings: Settings, folder: Path, timed: bool = True
) -> tuple[forecasts.Forecast, tuple[str, ...]]:  # fmt: skip
    """What `audit` would take of the same, and what its budget leaves out. timed: whether a few answers and a step are
    timed. Raises `SpecError` as `audit` does."""
    check(model)
    harmful, _ = rows.harmful_rows(settings)
    chosen = forecasts.chosen(model, settings, harmful)
    cast = forecasts.forecast(model, settings, chosen, harmful, timed)
    forecasts.check(cast.disk, folder, forecasts.what(cast))
    return cast, chosen.left_out


def check(model: Any) -> None:
    """Raise `SpecError` for a model whose weights are not at hand or cannot be loaded."""
    try:
        chain.check_trainable(model)
    except SpecError as error:
        raise SpecError(str(error), hint=WEIGHTS) from error
    model.check()


def facts(
    model: Any, settings: Settings, material: rows.Material, measure: Measure, cells: list[Tampered]
) -> list[tuple[str, str]]:  # fmt: skip
    """About the model, what it is asked and what it is tampered with, for the page."""
    suite = find.label("suite", {"use": settings.suite["use"]})
    named = settings.base or find.label("target", chain.spec_of(model))
    trainings = {cell.training: cell.seconds for cell in cells if cell.training}  # of the last step
    seconds = sum(trainings.values()) + sum(cell.seconds for cell in cells if not cell.training)
    utility = find.label("suite", {"use": settings.utility["use"]}) if settings.utility else "not asked"
    if settings.utility and not counts(measure.right):
        utility += ", no better than guessing: it says nothing of what is lost"
    reader = "the model itself" if settings.reader is None else find.label("target", chain.spec_of(settings.reader))
    return [
        ("Model", marked_name(named, optional(model, "marks"))),
        ("Asked", f"{count(len(measure.base.harm), 'request')} of {suite}"),
        *[(name.capitalize(), source) for name, source in material.sources.items()],
        ("Texts to keep", f"{len(measure.clean)}, " + ("of a file" if settings.clean else "the model's own answers")),
        ("Questions", utility),
        ("Sense is judged by", reader),
        ("Spent", f"{count(len(trainings), 'training')}, {seconds / 60:.0f} minutes"),
    ]  # fmt: skip


def kept_of(base: Tampered) -> dict[str, Json]:
    """What a model still knew before it was tampered with, to compare it with another's; empty where any likelihood is
    no finite number."""
    sides = {"nats": base.nats, "shuffled": base.shuffled}
    return {name: texts if all(isfinite(nats) for nats, _ in texts) else [] for name, texts in sides.items()}


def settings_json(settings: Settings) -> Json:
    """What was set; of rows that were given a digest in place of their texts, "" for none."""
    given = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "reader"}
    return {
        name: (digest(to_json(value)) if value else "") if name in FILES else plain(value)
        for name, value in given.items()
    }
