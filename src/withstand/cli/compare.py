"""The commands that compare: `withstand compare` and `withstand sample-size`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import CONTEXT, json_option, store_option
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.results.compare import Correct, Pair, Side
    from withstand.store.store import Store

MOST = 10
"""Behaviors named in a line; the JSON and the page have all."""


@click.command(context_settings=CONTEXT)
@click.argument("a", metavar="[A]", default="")
@click.argument("b", metavar="[B]", default="")
@click.option("--by", type=click.Choice(["target", "defense", "attack"]), default=None,
              help="Without B: the first of run A beside each other one.")  # fmt: skip
@click.option("--margin", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="Rates closer than this count as unchanged.")  # fmt: skip
@click.option("--correct", type=click.Choice(["holm", "bh"]), default="holm", show_default=True,
              help="For the number of rows: Holm, or Benjamini-Hochberg.")  # fmt: skip
@click.option("--allow", multiple=True, type=click.Choice(["judge", "suite", "sampling", "template"]),
              help="Compare although this differs; repeats.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write a page, FILE.html.")
@click.option("--reveal", is_flag=True, help="Show the behaviors' texts in the page and the JSON.")
@store_option
@json_option
def compare(
    a: str, b: str, by: str | None, margin: float, correct: "Correct", allow: tuple[str, ...], output: str | None,
    reveal: bool, store: str, as_json: bool,
) -> int:  # fmt: skip
    """Set B beside A, behavior by behavior: the difference with its interval, a paired test, and what changed.

    A and B are runs, or parts of runs: RUN:target=T, RUN:defense=D, RUN:attack=A. With --by, A is the last run by
    default. Over-refusal and utility stand below.
    """
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.report import comparison, write

    if bool(b) == bool(by):
        raise SpecError(
            "say what to compare" if not b else "--by compares parts of run A: it takes no B",
            hint="withstand compare RUN_A RUN_B, or withstand compare --by target",
        )
    with api.open_store(store, create=False) as opened:
        found = _compared(opened, _sides(opened, a, b, by), margin, correct, allow, reveal)
    if output:
        write.save(Path(output), comparison.html(found))
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)
    if output:
        console.say(f"wrote {output}")
    return 0


def _sides(opened: "Store", a: str, b: str, by: str | None) -> list[tuple["Side", "Side"]]:
    from withstand.results.compare import side, split_by

    return split_by(opened, a, by) if by else [(side(opened, a), side(opened, b))]


def _compared(
    opened: "Store", sides: list[tuple["Side", "Side"]], margin: float, correct: "Correct", allow: tuple[str, ...],
    reveal: bool,
) -> dict[str, Any]:  # fmt: skip
    """The comparison as JSON. All rows of all sides are one family for the correction."""
    from withstand.results import compare as comparing

    pairs: list[Pair] = []
    notes: list[str] = []
    for one, other in sides:
        found, said = comparing.matched(one.cells, other.cells)
        pairs += found
        notes += [*said, *comparing.check(found, allow)]
    texts = opened.behaviors({key for pair in pairs for key in pair.keys})
    rows = comparing.compare(pairs, texts, margin, correct, reveal)
    for row in rows:
        told = [row["b"][each] for each in row["varied"]] if len(sides) > 1 else []
        row["name"] = " ".join([row["label"], *(f"({each})" for each in told)])
    return {
        "schema": 1,
        "a": sides[0][0].label,
        "b": [other.label for _, other in sides],
        "margin": margin,
        "correction": comparing.CORRECTIONS[correct][0],
        "revealed": reveal,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }


def _print(found: dict[str, Any]) -> None:
    from withstand.cli import console
    from withstand.report import comparison

    console.put(f"A: {found['a']}")
    for label in found["b"]:
        console.put(f"B: {label}")
    for what, rows in comparison.by_measure(found["rows"]):
        table = comparison.table(what, rows, found["correction"])
        console.out.print(console.fields_table(table.texts(), table.heads()))
    for row in found["rows"]:
        for direction in ("worse", "better"):
            if row[direction]:
                listed = [comparison.change(each) for each in row[direction][:MOST]]
                more = len(row[direction]) - len(listed)
                listed += [f"{more} more (--json, or -o FILE.html)"] if more else []
                console.put(f"{row['name']}, {comparison.turned(row, direction)} in B: {', '.join(listed)}")
    for note in comparison.notes(found):
        console.say(f"note: {note}")


@click.command("sample-size", context_settings=CONTEXT)
@click.option("--asr", type=click.FloatRange(0, 1), default=None, metavar="R",
              help="Rate of A, 0 to 1; with --from it is read there.")  # fmt: skip
@click.option("--difference", type=click.FloatRange(0, 1, min_open=True), required=True, metavar="D",
              help="The smallest difference worth seeing, 0 to 1.")  # fmt: skip
@click.option("--power", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.8, show_default=True,
              help="Chance to see it.")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="Chance to see one that is not there, two-sided.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many comparisons will be made at once (Bonferroni).")  # fmt: skip
@click.option("--alike", type=click.FloatRange(-1, 1), default=0.0, show_default=True,
              help="Correlation of A and B within a behavior; 0 is the careful guess.")  # fmt: skip
@click.option("--from", "pilot", metavar="RUN", help="A run with both sides, or RUN:target=A; with --against B.")
@click.option(
    "--against", metavar="RUN", help="The other side of the pilot; default: --from has two targets, or defenses."
)
@store_option
@json_option
def sample_size(
    asr: float | None, difference: float, power: float, alpha: float, rows: int, alike: float, pilot: str | None,
    against: str | None, store: str, as_json: bool,
) -> int:  # fmt: skip
    """How many behaviors show a difference between A and B, tested on the same behaviors.

    Without a pilot, for one case per behavior. --from takes from a run's data how often A and B differ on a behavior
    and how alike the cases of one are, and says what more cases per behavior would save.
    """
    import json

    from withstand.cli import console
    from withstand.stats import paired

    if (asr is None) == (pilot is None):
        raise SpecError(
            "say the rate of A, or a run to take it from, not both"
            if asr is not None
            else "the rate of A is not known",
            hint="withstand sample-size --asr 0.3 --difference 0.05, or --from RUN",
        )
    if against and not pilot:
        raise SpecError("--against, but no --from", hint="--from RUN_A --against RUN_B")
    level = alpha / rows
    plans: list[dict[str, Any]] = []
    if asr is not None:
        if difference > max(asr, 1 - asr):
            raise SpecError(
                f"no rate is {difference} away from {asr}", hint=f"--difference {max(asr, 1 - asr):.3g} at most"
            )
        either = [paired.discordance(asr, d, alike) for d in (difference, -difference) if 0 <= asr - d <= 1]
        share = max(either)  # of B better and B worse, what needs more
        n = paired.behaviors_needed(difference, share, power, level)
        plans.append({"label": "", "cases": 1, "behaviors": n, "discordance": share, "asr": asr})
    else:
        plans = _from_pilot(store, pilot or "", against, difference, power, level)
    found = {"schema": 1, "difference": difference, "power": power, "alpha": alpha, "rows": rows, "plans": plans}
    if as_json:
        click.echo(json.dumps(found))
        return 0
    table = [
        [plan["label"], str(plan["cases"]), f"{plan['behaviors']:,}", f"{100 * plan['asr']:.0f}%",
         f"{100 * plan['discordance']:.0f}%"]
        for plan in plans
    ]  # fmt: skip
    columns = ["pilot", "cases per behavior", "behaviors", "ASR of A", "differ on a behavior"]
    named = any(plan["label"] for plan in plans)
    console.out.print(
        console.fields_table([row if named else row[1:] for row in table], columns if named else columns[1:])
    )
    corrected = f", corrected for {rows} comparisons" if rows > 1 else ""
    console.put(
        f"to see a difference of {100 * difference:.3g} points at {100 * power:.0f}% power, paired, "
        f"two-sided at {100 * alpha:.3g}%{corrected}"
    )
    return 0


def _sides_within(opened: "Store", pilot: str) -> list[tuple["Side", "Side"]]:
    """The targets of the pilot, or its defenses where it has one target."""
    from withstand.results.compare import side

    cells = [cell for cell in side(opened, pilot).cells if not cell.benign]
    for by in ("target", "defense"):
        if len({cell.value(by) for cell in cells}) > 1:
            return _sides(opened, pilot, "", by)
    raise SpecError(
        f"{pilot} has one target and one defense: nothing differs in it",
        hint="--against RUN_B, or --asr without --from",
    )


CASES = (1, 2, 5, 10)
"""Cases per behavior that a plan from a pilot of several shows."""


def _from_pilot(
    store: str, pilot: str, against: str | None, difference: float, power: float, level: float
) -> list[dict[str, Any]]:
    """Plans for each harmful pair of the pilot. A pilot of one case per behavior plans for one."""
    from withstand import api
    from withstand.results.compare import matched
    from withstand.stats import paired, rates

    with api.open_store(store, create=False) as opened:
        sides = _sides(opened, pilot, against, None) if against else _sides_within(opened, pilot)
        pairs = [pair for one, other in sides for pair in matched(one.cells, other.cells)[0] if not pair.a.benign]
    plans = []
    for pair in pairs:
        a, n_a, *_ = pair.a.columns(pair.keys)
        b, n_b, *_ = pair.b.columns(pair.keys)
        spread = paired.spread(a, n_a, b, n_b)
        seen = paired.difference(a, n_a, b, n_b)
        rate = rates.mean_rate(a, n_a)
        if spread is None or seen is None or rate is None:
            continue
        changed = seen.worse + seen.better + 2 * paired.ADDED
        share = changed / (
            seen.behaviors + 2 * paired.ADDED
        )  # a small pilot without a change does not show that none is
        told = {"label": pair.label, "discordance": share, "asr": rate}
        if max(*n_a, *n_b) == 1:
            n = paired.behaviors_needed(difference, max(share, difference), power, level)
            plans.append({**told, "cases": 1, "behaviors": n})
            continue
        for cases in CASES:
            n = paired.behaviors_needed_at(difference, spread.sd(cases), power, level)
            plans.append({**told, "cases": cases, "behaviors": n})
    if not plans:
        raise SpecError(
            f"{pilot} has no two behaviors that are scored on both sides", hint="take a larger pilot, or give --asr"
        )
    return plans
