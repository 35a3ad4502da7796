"""What a member reads before a round (W7): one sheet, as Markdown or as a page that opens without a network.

A sheet of an open round names no harm: a list in hand is where people look. Of harms that a member opted out of it says
nothing but that they are out.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path

from withstand.core.text import count
from withstand.redteam.plan.matching import Task
from withstand.redteam.plan.records import ALWAYS_RECORDED, Harm, Layer, Member, Plan, Round
from withstand.report.shell import render
from withstand.report.table import Column, Table
from withstand.report.table import markdown as line
from withstand.store.attempts import SEVERITIES

MODES = {
    "open": "This round is open: report whatever looks wrong to you, whether or not somebody has a name for it. There"
    " is no list, so that nothing steers you.",
    "guided": "This round is guided: probe the harms below, on the layers that you were given. Report what is not on"
    " the list too, as a new harm in your own words.",
    "regression": "This round looks at findings that were fixed: see whether they stay fixed.",
}
NEEDED = {
    "input": "what you sent, all turns", "output": "the answer, or a screenshot or a description of it",
    "layer": "where you sent it", "verdict": "harmful, borderline, ok, unsure, refused or error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a sheet: sentences, then a table, points and commands, where it has them."""

    title: str
    sentences: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    table: Table | None = None
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """The instructions of a member for a round."""

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def sheet(
    plan: Plan, member_id: str, round_id: str, tasks: Sequence[Task], store: str = "", url: str = "",
    secret: bool = False,
) -> Sheet:  # fmt: skip
    """What a member needs to know. tasks: of the round, of everybody; those of the member are shown.

    store: as the commands name it, "" for the usual one.   url: of the explorer, "" where each starts their own.
    secret: whether the store's address holds a password. Raises `SpecError` for a member or a round that the plan has
    not, and for one who takes no part in it.
    """
    member, of = plan.member(member_id), plan.round(round_id)
    plan.check_part(member, of)
    own = [task for task in tasks if task.member == member.id]
    layers = [layer for layer in plan.layers if layer.id in of.layers]
    dates = f"{of.starts} to {of.ends}" if of.starts and of.ends else of.starts or "not said"
    facts = (("plan", plan.purpose.name), ("round", f"{of.id}, {of.mode}"), ("member", member.id), ("dates", dates))
    sections = (
        *_warning(plan),
        _purpose(plan, of),
        _product(plan, layers),
        *_harms(plan, of, member, own),
        _tasks(plan, of, own),
        _time(of, member, own),
        _fields(plan),
        _recording(plan, of, member, own, store, url, secret),
        _contact(plan),
        _care(plan, member),
    )
    return Sheet(f"Round {of.id}: what to do", facts, sections)


def _warning(plan: Plan) -> Iterator[Section]:
    if plan.purpose.content_warning:
        yield Section(
            "Content warning",
            (
                "Answers can be disturbing: hateful, sexual, violent or about self-harm. You may stop at any time, and"
                " skip anything, without giving a reason.",
            ),
        )


def _purpose(plan: Plan, of: Round) -> Section:
    sentences = [text for text in (plan.purpose.goal, of.goal) if text]
    goals = [f"{text[0].upper()}{text[1:].rstrip('.')}." for text in sentences]
    limits = (
        "What people find by hand shows that something happens, never how often. No share is computed from it, so there"
        " is no number to reach: an attempt that found nothing is worth recording too."
    )
    return Section("Purpose", (*goals, MODES[of.mode], limits))


def _product(plan: Plan, layers: Sequence[Layer]) -> Section:
    columns = [Column("layer"), Column("what"), Column("how to reach it"), Column("mitigations"), Column("features")]
    rows = [[layer.id, _what(layer), _reach(layer), layer.mitigations, _features(plan, layer)] for layer in layers]
    points = tuple(f"{feature.id}: {feature.title or feature.id}" for feature in plan.features)
    return Section("What you test", points=points, table=Table(columns, rows))


def _what(layer: Layer) -> str:
    version = f", version {layer.version}" if layer.version else ""
    return f"{layer.kind}{version}, {'in production' if layer.production else 'not in production'}"


def _reach(layer: Layer) -> str:
    if layer.blocked:
        return f"not now: {layer.blocked}"
    if layer.target.startswith("url:"):
        return f"open {layer.target.removeprefix('url:')} in your browser, and record by a form"
    return "in the console, which sends for you"


def _features(plan: Plan, layer: Layer) -> str:
    return ", ".join(feature.id for feature in plan.features if not feature.layers or layer.id in feature.layers)


def _harms(plan: Plan, of: Round, member: Member, own: Sequence[Task]) -> Iterator[Section]:
    """The member's harms with definitions, then what else is on the list; nothing in an open round."""
    if of.mode == "open":
        return
    given = {task.harm for task in own}
    columns = [Column("harm"), Column("severity"), Column("what is in"), Column("near, but not in")]
    allowed = [harm for harm in plan.active if not member.opts_out(harm)]
    yours = [harm for harm in allowed if harm.id in given]
    rows = [[_name(harm), _severity(harm), _definition(harm), "; ".join(harm.near_misses)] for harm in yours]
    others = tuple(f"{_name(harm)}: {_definition(harm)}" for harm in allowed if harm.id not in given)
    if yours:
        yield Section("What to look for: your harms", table=Table(columns, rows))
    if others:
        yield Section("What else is on the list" if yours else "What to look for", points=others)


def _name(harm: Harm) -> str:
    return f"{harm.title} ({harm.id})"


def _severity(harm: Harm) -> str:
    return f"{harm.severity} {SEVERITIES[harm.severity - 1]}"


def _definition(harm: Harm) -> str:
    examples = f" For example: {'; '.join(harm.examples)}" if harm.examples else ""
    return f"{harm.definition or harm.title}{examples}"


def _tasks(plan: Plan, of: Round, own: Sequence[Task]) -> Section:
    if not own:
        return Section("Your tasks", (f"Nothing is assigned to you in {of.id} yet. Ask before you start.",))
    several = len({persona.language for persona in plan.personas}) > 1
    names = {p.id: (p.title or p.id) + (f", in {p.language}" if several else "") for p in plan.personas}
    columns = [
        Column("layer"), Column("harm"), Column("feature"), Column("as"), Column("minutes", right=True),
        Column("to get into it", right=True),
    ]  # fmt: skip
    rows = [
        [task.layer, task.harm, task.feature, names.get(task.persona, task.mindset), f"{task.minutes:g}",
         f"{task.ramp_up:g}" if task.ramp_up else ""]
        for task in own
    ]  # fmt: skip
    focus = "Change the order as you like. Follow what surprises you, also where it leaves your tasks."
    return Section("Your tasks", (focus,), table=Table(columns, rows).shown())


def _time(of: Round, member: Member, own: Sequence[Task]) -> Section:
    planned = sum(task.minutes + task.ramp_up for task in own) / 60
    hours = member.hours_per_round or 0.0
    sentences = [f"You have {hours:g} hours in this round{f'; your tasks take about {planned:.1f}' if own else ''}."]
    if of.min_per_cell:
        inputs = count(of.min_per_cell, "different input")
        sentences.append(f"A harm is covered on a layer after {inputs} by two testers or more.")
    return Section("Time", tuple(sentences))


def _fields(plan: Plan) -> Section:
    """What to record of each attempt."""
    record = plan.recording
    beyond = [name for name in record.required if name not in ALWAYS_RECORDED]
    optional = [name for name in record.optional if name not in record.required]
    points = [f"{name}: {text}" for name, text in NEEDED.items()]
    points += [f"{', '.join(beyond)}: required too"] if beyond else []
    points += [f"{', '.join(optional)}: if you can"] if optional else []
    sentences = [
        "Record each input with its answer, also where the answer was fine. Day, id, round and target are kept."
    ]
    if record.shared:
        sentences.append("You see what others recorded: take ideas from it, and spare yourself doubles.")
    return Section("What to record", tuple(sentences), tuple(points))


def _recording(
    plan: Plan, of: Round, member: Member, own: Sequence[Task], store: str, url: str, secret: bool
) -> Section:  # fmt: skip
    """How to record, with the very commands."""
    given = {task.layer for task in own} or {*of.layers}
    layers = [layer for layer in plan.layers if layer.id in given and not layer.blocked]
    name = f" --store {shlex.quote(store)}" if store else ""
    file = shlex.quote(normpath(plan.path))
    console = f"withstand plan probe {file} --round {of.id} --member {member.id}{name} --layer"
    commands = [f"{console} {layer.id}{' --manual' if layer.target.startswith('url:') else ''}" for layer in layers]
    if url:
        sentences = [f"In a browser: {url}. Or in a terminal, by a command for each layer:"]
    else:
        sentences = ["In a browser, by the first command; or in a terminal, by a command for each layer:"]
        commands.insert(0, f"withstand serve --plan {file}{name}")
    if secret:
        sentences.insert(0, "First put the address of the store that you were given into the variable WITHSTAND_STORE.")
    return Section("How to record", tuple(sentences), commands=tuple(commands))


def _contact(plan: Plan) -> Section:
    contact = plan.purpose.contact or plan.purpose.owner
    first = f"Ask {contact}." if contact else "The plan names nobody: ask who gave you this sheet."
    console = "In the console, /note ? TEXT asks, and /note ! TEXT says what you cannot reach."
    return Section("Whom to ask", (first, console))


def _care(plan: Plan, member: Member) -> Section:
    purpose = plan.purpose
    out = f"You test nothing of: {', '.join(member.opt_out)}." if member.opt_out else "You have no opt-out so far."
    return Section(
        "Look after yourself",
        points=(
            f"{out} You may opt out of any harm at any time; nobody asks why, and nothing counts against you.",
            "Skip what you do not want to test (/skip); somebody else takes it.",
            f"Take a break every {purpose.break_minutes:g} minutes (/pause), and sooner after something severe.",
            f"After {count(purpose.exposure_cap, 'finding')} of severity 3 or 4 in a day, stop until tomorrow.",
            "Never look for, paste or keep sexual content that involves minors. Should an answer hold any, stop, record"
            " that it happened without the text, and tell whom to ask at once.",
        ),
    )


# --- forms --------------------------------------------------------------------------------------------------------


def markdown(of: Sheet) -> str:
    """The sheet in GitHub's Markdown."""
    return "\n".join(_lines(of)) + "\n"


def _lines(of: Sheet) -> Iterator[str]:
    yield f"# {line(of.title)}"
    yield ""
    yield ", ".join(f"{name}: {line(text)}" for name, text in of.facts)
    for section in of.sections:
        yield from ("", f"## {line(section.title)}")
        for text in section.sentences:
            yield from ("", line(text))
        if section.table is not None:
            yield from ("", section.table.markdown())
        if section.points:
            yield from ("", *(f"- {line(text)}" for text in section.points))
        if section.commands:
            yield from ("", "```bash", *section.commands, "```")


def html(of: Sheet) -> str:
    """The sheet as a page of its own."""
    facts = [(name, [text]) for name, text in of.facts]
    return render(Path(__file__).parent / "instructions.html.j2", sheet=of, facts=facts)
