"""A fine-tuning audit for people: Markdown and one HTML file, from its JSON. No completion is in either."""

import json
from collections.abc import Iterator
from pathlib import Path

from withstand import api
from withstand.audits.finetune.figures import HEIGHT, WIDTH, figures
from withstand.audits.finetune.tables import change, rate, tables, title
from withstand.core import Json


def write(told: Json, folder: Path, store: Path | None = None) -> None:
    """audit.json, audit.md and audit.html in the folder; with a store also completions.jsonl, which holds texts."""
    files = {
        "audit.json": json.dumps(told, indent=1) + "\n",
        "audit.md": markdown(told),
        "audit.html": html(told),
    }
    if store is not None:
        lines = []
        for arm in told["arms"]:
            for name in arm["runs"]:
                for case in api.load(name, store).cases():
                    lines.append(json.dumps({"arm": arm["name"], **case}) + "\n")
        files["completions.jsonl"] = "".join(lines)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        new = folder / f".{name}.new"
        new.write_text(text, encoding="utf-8", errors="backslashreplace")
        new.replace(folder / name)


def short(told: Json) -> Iterator[str]:
    """The verdict and its reasons, a line each, and the table."""
    for arm in told["arms"]:
        yield f"{title(arm)}: {rate(arm['harm_rate'], arm['ci'])} harmful{_after(arm)}"
    yield f"{told['verdict']}: {'; '.join(told['reasons'])}"


def markdown(told: Json) -> str:
    """One page: verdict, before and after, mitigations, curve, triggers, depth, lint, limits."""
    lines = [f"# Fine-tuning audit: {told['verdict']}", ""]
    lines += [*(f"- {_cell(text)}" for text in told["reasons"]), ""]
    lines += [f"{name}: {_cell(text)}  " for name, text in facts(told)]
    for table in tables(told):
        lines += ["", f"## {table.title}", "", _cell(table.note), ""]
        if table.rows:
            lines += ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
            lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
        else:
            lines.append("Nothing to show.")
    lines += ["", "## What was not tested", "", *(f"- {_cell(text)}" for text in told["limits"])]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def facts(told: Json) -> list[tuple[str, str]]:
    """What was audited and how, in lines."""
    data, train, eval_ = told["data"], told["train"], told["eval"]
    system = told["templates"]["eval_system"]
    return [
        ("Base", f"{told['base']['id']} ({told['base']['hash'][:12]})"),
        ("Data", f"{data['name']}, {data['n']} rows of {data['format']}, {data['held_out']} held out, "
                 f"SHA-256 {data['path_hash'][:12]}"),
        ("Training", f"{train['method']}, learning rate {train['lr']:g}, batch {train['batch']}, "
                     f"{train['steps']} steps, {len(train['seed'])} seed{'s' * (len(train['seed']) > 1)}"),
        ("Evaluation", f"{eval_['suite']}, greedy, {eval_['max_tokens']} tokens, "
                       f"{'the system message of the rows' if system else 'no system message'} before and after"),
        ("Suite", _licensed(eval_)),
        ("Judge", _judge(eval_["judge"])),
        ("Budget", f"FAIL above {told['thresholds'].get('fail', 5.0):g} points by the interval's lower end, WARN above "
                   f"{told['thresholds'].get('warn', 2.0):g} by the change itself"),
    ]  # fmt: skip


def _after(arm: Json) -> str:
    return f", {change(arm['change'])}" if arm["change"] else ""


def _licensed(told: Json) -> str:
    said = [told["suite"], told.get("suite_version") and f"version {told['suite_version']}", told.get("license")]
    return ", ".join(filter(None, [*said, told.get("citation")]))


def _judge(told: Json) -> str:
    name = ", ".join(
        filter(None, [told["id"], told.get("version") and f"version {told['version']}", told.get("method")])
    )
    if told["kappa"] is None:
        return f"{name}; {told.get('why') or 'not set beside people'}"
    low, high = told["kappa_interval"] or (None, None)
    between = "" if low is None else f" ({low:.2f} to {high:.2f})"
    return (
        f"{name}; beside people on {told['n']} answers of {told['labels']}: kappa {told['kappa']:.2f}{between}, "
        f"sensitivity {rate(told['sensitivity'])}, specificity {rate(told['specificity'])}"
    )


def html(told: Json) -> str:
    """One file without scripts; every text of the data is escaped."""
    import jinja2

    env = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = env.from_string((Path(__file__).parent / "finetune.html.j2").read_text(encoding="utf-8"))
    drawn = figures(told)
    return template.render(
        told=told, facts=facts(told), tables=list(tables(told)), figures=drawn, width=WIDTH, height=HEIGHT
    )
