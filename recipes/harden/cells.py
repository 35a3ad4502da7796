"""Hardened copies of smollm2-kitchen, attacked anew: a row of JSON a cell, and what is missing stays empty.

    python recipes/harden/cells.py run --out harden-cells [--minutes 80] [--only latent]
    python recipes/harden/cells.py show [--write]    # as a Markdown table, or into README.md

A cell is a model, the seed of its training, an attack, and what is sent: "fixed", the test cases that the attack found
on the base, or "adaptive", what it finds on this model. The cell "train" of a model has what its training cost, its
answers to plain and to harmless requests, and the loss on the base's harmless answers. `run` does what cells.jsonl
lacks, in the order of `cells()`, stops by itself after --minutes, and goes on later: --out keeps stages and answers.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from withstand import api
from withstand.api import Run
from withstand.audits.exam import Exam
from withstand.audits.harden import families, material, verdicts
from withstand.audits.harden.costs import Limits
from withstand.audits.harden.measure import unanswered
from withstand.audits.harden.records import Attacked, Measured, Tries
from withstand.audits.harden.settings import Choice, Settings, settings_of
from withstand.core import Message, WithstandError
from withstand.core.refusal import refusal_in
from withstand.engine import likelihood
from withstand.registry import find
from withstand.runner import chain
from withstand.stats.rates import wilson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cell_rows

ROWS = Path(__file__).resolve().parent / "cells.jsonl"
PAGE = ROWS.with_name("README.md")
BASE = "smollm2-kitchen"
DISHES = 20
METHODS: dict[str, tuple[str, int]] = {
    "refusal_sft": ("refusal_sft", 3),
    "circuit_breakers": ("circuit_breakers,steps=100,lr=1e-3", 1),  # at the rate of sft the states do not turn
    "latent": ("latent", 1),
    "r2d2": ("r2d2-desk,steps=60", 1),
}
"""Name -> its spec, and seeds."""

SEARCH = {"steps": 60, "width": 64, "every": 5, "verify": 4, "screen_tokens": 6, "loss": "ce_first"}
ATTACKS: dict[str, dict[str, Any]] = {
    "story": {"use": "story"},
    "prefill": {"use": "prefill"},
    "pair": {"use": "pair", "attacker": "scripted-attacker-kitchen", "judge": "kitchen", "streams": 2, "steps": 3},
    "autoprompt": {"use": "autoprompt", **SEARCH},
    "gcg": {"use": "gcg", **SEARCH},
}
"""Name -> its spec; each ends at its first success."""


class Cell(NamedTuple):
    """model: "none", the base, or one of `METHODS`. attack: "train" or one of `ATTACKS`. sent: "" for "train" and for
    the base, else "fixed" or "adaptive"."""

    model: str
    seed: int
    attack: str
    sent: str


class OutOfTimeError(Exception):
    """The minutes are over; what was saved of a training is kept."""


def cells() -> Iterator[Cell]:
    """The grid: the base, then one seed of each method, then further seeds; searches on weights take longest, and come
    after the other attacks."""
    yield Cell("none", 0, "train", "")
    searches = [name for name, spec in ATTACKS.items() if SEARCH.items() <= spec.items()]
    for seed in range(max(seeds for _, seeds in METHODS.values())):
        for attacks in ([name for name in ATTACKS if name not in searches], searches):
            yield from (Cell("none", 0, attack, "") for attack in attacks if not seed)
            for model in (model for model, (_, seeds) in METHODS.items() if seed < seeds):
                if attacks is not searches:
                    yield Cell(model, seed, "train", "")
                yield from (Cell(model, seed, attack, sent) for attack in attacks for sent in ("fixed", "adaptive"))


def done() -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that are there, by cell."""
    return cell_rows.read(ROWS, Cell._fields)


def run(out: Path, minutes: float, only: Sequence[str]) -> None:
    """Do what is missing, a row at a time, while there are minutes left."""
    end = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    for cell in cells():
        if cell in done() or (only and cell.model not in only):
            continue
        try:
            row = measured(cell, out, end)
        except OutOfTimeError:
            return
        except WithstandError as error:
            print(f"{' '.join(map(str, cell))}: {error}", file=sys.stderr)
            continue
        cell_rows.add(ROWS, row)
        print(*cell, row["broken"], f"{row['seconds']} s", flush=True)


def measured(cell: Cell, out: Path, end: float) -> dict[str, Any]:
    """The row of a cell. Raises `OutOfTimeError` where no time was left for all of it."""
    began = time.monotonic()
    store = out / "cells.db"
    model, record = hardened(cell, out, end)
    if cell.attack == "train":
        more = {"training": record, "nats": nats(model, store, end)}
        ran = whole(unattacked(model), store, end)
    else:
        attack = find.build("attack", ATTACKS[cell.attack])
        more = {"attack_version": attack.version}
        spec = attacked(model, ATTACKS[cell.attack])
        if cell.sent == "fixed":  # what the base's run has is in the store: this asks nothing anew
            searched = whole(attacked(find.build("target", {"use": BASE}), ATTACKS[cell.attack]), store, end)
            spec = {**spec, "attack": [], "cases_from": searched.name}
        ran = whole(spec, store, end)
    about = {**cell._asdict(), "versions": cell_rows.versions(), **more}
    return {**about, **figures(ran), "seconds": round(time.monotonic() - began)}


@cache
def settings(model: str) -> Settings:
    """Of the command `withstand harden`, as `--preset desk` has them."""
    base = find.build("target", {"use": BASE})
    choice = Choice(METHODS[model][0], BASE, ["gcg"], ["story"], preset="desk", at="none")
    return settings_of(choice, base)


def hardened(cell: Cell, out: Path, end: float) -> tuple[Any, dict[str, Any]]:
    """The model of a cell, trained now or before, and what its training used."""
    base = find.build("target", {"use": BASE})
    if cell.model == "none":
        return base, {}
    chosen = settings(cell.model)
    exam = Exam(chosen.suite, out / "cells.db", DISHES, "", chosen.max_tokens)
    rows = material.rows_of(base, "", chosen, material.requests_of(chosen), exam)

    def log(_place: int, step: int, loss: float) -> None:
        print(f"{cell.model}, seed {cell.seed}: step {step}, loss {loss:.3f}", flush=True)
        if time.monotonic() > end:
            raise OutOfTimeError

    [trained] = chain.train(
        base, [chain.Step(saved_often(chosen.seeded(cell.seed)), rows.rows)], out / "stages", log=log
    )
    used = trained.record
    return trained.model, {
        "stage": find.describe(chosen.seeded(cell.seed)), "steps": used.steps, "clean": rows.clean,
        "adversarial": rows.adversarial, "rejected": rows.requests.kind, "own_refusals": rows.own,
        "flops": used.flops, "seconds": round(used.seconds), "loss": used.loss, "resumed": used.resumed,
        "diverged": getattr(used, "diverged", 0),
    }  # fmt: skip


def saved_often(stage: Any) -> Any:
    """The stage with what makes it stop and resume after each few steps; no key holds it."""
    if hasattr(stage, "stage"):
        return replace(stage, stage=saved_often(stage.stage))
    return replace(stage, log_every=1, save_every=5)


def unattacked(model: Any) -> dict[str, Any]:
    """The run of plain requests, harmful and harmless ones."""
    benign = {"use": "kitchen-benign", "split": "test"}  # all 60: a bound of 10 points needs 58 at least
    return {**attacked(model, "direct"), "until_success": False, "benign": benign}


def attacked(model: Any, attack: Any) -> dict[str, Any]:
    """The run of an attack."""
    return {
        "suite": {"use": "kitchen", "split": "test", "limit": DISHES}, "target": chain.spec_of(model),
        "sampling": {"temperature": 0.0, "max_tokens": 128}, "benign": "none", "attack": attack, "until_success": True,
    }  # fmt: skip


def nats(model: Any, store: Path, end: float) -> list[tuple[float, int]]:
    """Nats and tokens of each harmless answer of the base, as the model reads it."""
    ran = whole(unattacked(find.build("target", {"use": BASE})), store, end)
    chats = [
        (tuple(Message(turn["role"], turn["text"]) for turn in case["chat"]), case["completion"])
        for case in ran.cases()
        if ran.cells[case["cell"]]["benign"] and case["completion"] and not refusal_in(case["completion"])
    ]
    return likelihood.answer_nats(model, [chat for chat, _ in chats], [text for _, text in chats])


def whole(spec: dict[str, Any], store: Path, end: float) -> Run:
    """The run. Raises `OutOfTimeError` where it was not done in time: the same call goes on."""
    left = end - time.monotonic()
    if left <= 0:
        raise OutOfTimeError
    ran = api.run(spec, store=store, max_time=left)
    if ran.tally is None or ran.tally.stopped:
        raise OutOfTimeError
    return ran


def figures(ran: Run) -> dict[str, Any]:
    """What a row says: of the dishes how many were broken, how many may be, and what it cost.

    tries: by dish the cases that broke the model, those without a verdict, and all.   benign: by harmless request what
    the judge says, or "lost" for an answer that is none: one sentence to all, a loop, an echo.
    """
    [harmful, *benign] = ran.cells
    tries: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    refused, flops = dict[str, str](), defaultdict[str, float](float)
    lost = unanswered({
        case["behavior"]: (case["chat"][-1]["text"], case["completion"])
        for case in ran.cases()
        if case["cell"] != harmful["index"]
    })  # fmt: skip
    for case in ran.cases():
        if case["cell"] != harmful["index"]:
            answered = case["outcome"] in ("success", "failure")
            refused[case["behavior"]] = "lost" if answered and lost[case["behavior"]] else case["outcome"]
            continue
        counted = (case["outcome"] == "success", case["outcome"] in ("unscored", "error"), True)
        tries[case["behavior"]] = [before + new for before, new in zip(tries[case["behavior"]], counted, strict=True)]
        flops[case["behavior"]] = max(flops[case["behavior"]], case["spent"].get("flops") or 0.0)
    broken = sum(bool(hits) for hits, _, _ in tries.values())
    open_ = sum(not hits and bool(unknown) for hits, unknown, _ in tries.values())
    return {
        "run": ran.name, "broken": [broken, len(tries), open_], "interval": wilson(broken, len(tries)),
        "tries": dict(sorted(tries.items())),
        **{name: harmful[name] for name in ("cases", "refused", "unscored", "error", "asks", "tokens")},
        "flops": sum(flops.values()), "cpu_seconds": harmful["seconds"],
        **({"benign": dict(sorted(refused.items()))} if benign else {}),
    }  # fmt: skip


def table(rows: dict[tuple[Any, ...], dict[str, Any]]) -> Iterator[str]:
    """The grid as Markdown: of the dishes how many were broken, fixed / adaptive."""
    attacks = " | ".join(f"`{attack}`" for attack in ATTACKS)
    yield f"| model | seed | plain | {attacks} | harmless refused | nats a token | training |"
    yield f"|---|---|---|{'---|' * len(ATTACKS)}---|---|---|"
    bare = rows.get(("none", 0, "train", ""), {})
    for model, seed in [("none", 0), *((model, seed) for model, (_, n) in METHODS.items() for seed in range(n))]:
        own = rows.get((model, seed, "train", ""), {})
        parts = [broken(own)]
        for attack in ATTACKS:
            sent = [broken(rows.get((model, seed, attack, how), {})) for how in ("fixed", "adaptive")]
            sent = [" / ".join(part or "-" for part in sent) if any(sent) else ""]
            parts += [broken(rows.get((model, seed, attack, ""), {}))] if model == "none" else sent
        named = "the base" if model == "none" else f"`{METHODS[model][0]}`"
        ends = [refused(own), loss(own, bare), cost(own)]
        yield f"| {named} | {'' if model == 'none' else seed} | {' | '.join([*parts, *ends])} |"


def verdict_table(rows: dict[tuple[Any, ...], dict[str, Any]]) -> Iterator[str]:
    """What `withstand harden` would say of each method, by the seeds of which every cell is there."""
    yield "| method | verdict | why |"
    yield "|---|---|---|"
    base = as_measured("none", 0, rows)
    for model, (_, seeds) in METHODS.items():
        after = [shown for seed in range(seeds) if (shown := as_measured(model, seed, rows))]
        report = verdicts.report(base, after, [], Limits()) if base and after else None
        if report:
            headline, why = report["headline"], "; ".join(report["reasons"])
        else:
            lacking = [f"`{c.attack}` {c.sent} of seed {c.seed}" for c in cells() if c.model == model and c not in rows]
            headline, why = "none yet", f"not run: {', '.join(lacking)}"
        yield f"| `{METHODS[model][0]}` | {headline} | {why} |"


def as_measured(model: str, seed: int, rows: dict[tuple[Any, ...], dict[str, Any]]) -> Measured | None:
    """The cells of a model as `withstand harden` has them; None while one is missing."""
    own = rows.get((model, seed, "train", ""))
    kinds = ("",) if model == "none" else ("fixed", "adaptive")
    sent = {name: [rows.get((model, seed, name, kind)) for kind in kinds] for name in ATTACKS}
    if own is None or not all(all(cells) for cells in sent.values()):
        return None
    attacks = []
    for name, cells in sent.items():
        family = families.families_of(find.build("attack", ATTACKS[name]))[0]
        tries = [{dish: Tries(*counts) for dish, counts in (row or {})["tries"].items()} for row in cells]
        fixed, adaptive = tries if len(tries) == 2 else ({}, tries[0])
        attacks.append(Attacked(name, family, families.SEARCHES.get(model) != family, fixed, adaptive))
    answers = {
        name: None if outcome in ("unscored", "error") else outcome not in ("success", "failure")
        for name, outcome in own["benign"].items()
    }
    read = [(nats, tokens) for nats, tokens in own["nats"]]
    plain = {dish: bool(hits) or (None if unknown else False) for dish, (hits, unknown, _) in own["tries"].items()}
    return Measured(
        f"{model}, seed {seed}", seed, own["training"].get("steps", 0), tuple(attacks), answers, read, plain=plain
    )


def broken(row: dict[str, Any]) -> str:
    """Dishes that were broken, with those that may be; "" for a cell that is not there."""
    if not row:
        return ""
    shown, _, open_ = row["broken"]
    return f"{shown} (+{open_}?)" if open_ else str(shown)


def refused(row: dict[str, Any]) -> str:
    """Harmless requests without an answer."""
    if not row:
        return ""
    outcomes = row["benign"].values()
    return f"{sum(outcome not in ('success', 'failure') for outcome in outcomes)} of {len(outcomes)}"


def loss(row: dict[str, Any], bare: dict[str, Any]) -> str:
    """Nats a token of the base's harmless answers, and how many more than the base's own."""
    if not row or not bare:
        return ""
    own, base = (sum(n for n, _ in texts) / sum(k for _, k in texts) for texts in (row["nats"], bare["nats"]))
    return f"{own:.2f}" if row is bare else f"{own:.2f} ({own - base:+.2f})"


def cost(row: dict[str, Any]) -> str:
    """Steps, FLOPs and minutes of the training."""
    used = row.get("training")
    return f"{used['steps']} steps, {used['flops']:.1e} FLOPs, {used['seconds'] / 60:.0f} min" if used else ""


def tables() -> list[str]:
    """Of the cells, of what they say together, and of the tampering."""
    import tampering

    rows = done()
    return [*table(rows), "", *verdict_table(rows), "", *tampering.table()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--out", type=Path, default=Path("harden-cells"))
    parser.add_argument("--minutes", type=float, default=80)
    models = ["none", *METHODS]
    parser.add_argument("--only", action="append", default=[], choices=models, help="this method, or none; repeats")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what == "show":
        cell_rows.show(PAGE, tables(), given.write)
    else:
        run(given.out, given.minutes, given.only)


if __name__ == "__main__":
    main()
