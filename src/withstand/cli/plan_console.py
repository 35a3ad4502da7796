"""The commands of `withstand plan probe`, a line each. The logic lies in `redteam.session`."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from withstand.cli import console
from withstand.cli.plan_lines import beside, place, whole
from withstand.core import Sampling, SpecError, WithstandError, did_you_mean, to_json
from withstand.core.text import count, visible
from withstand.redteam.console import peers
from withstand.redteam.console.compared import compare
from withstand.redteam.console.marking import VERDICTS, Mark, is_restricted
from withstand.redteam.console.probing import Probe, is_by_hand, of_layer
from withstand.redteam.console.session import Session
from withstand.redteam.console.state import Exchange, State
from withstand.redteam.coverage.cells import Cell
from withstand.redteam.findings.similar import sent
from withstand.redteam.plan import hours
from withstand.redteam.plan.records import Plan
from withstand.store import files
from withstand.store.attempts import FINDINGS, SEVERE

END = "---"
"""The line that ends a pasted text."""


class Console:
    """A terminal on a session. interactive: a person types; else lines come from a pipe.   failed: lines that did."""

    def __init__(
        self, session: Session, plan: Plan, judges: tuple[str, ...], sampling: Sampling, reveal: bool, manual: bool,
        as_json: bool, interactive: bool,
    ) -> None:  # fmt: skip
        self.session, self.plan, self.judges, self.sampling = session, plan, judges, sampling
        self.reveal, self.manual, self.as_json, self.interactive = reveal, manual, as_json, interactive
        self.failed, self.reminded, self.announced = 0, False, ""
        self.lines: Iterator[str] = iter(())

    @property
    def prompt(self) -> str:
        state = self.session.state
        return f"{state.member} {state.context.layer}{f' #{state.head}' if state.head else ''}> "

    def run(self, lines: Iterator[str]) -> None:
        """Take each line until /quit or the last. A line that fails is said, and the next is taken."""
        self.lines = lines
        for line in lines:
            try:
                if not self.take(line.strip()):
                    break
            except WithstandError as error:
                self.failed += 1
                console.error(str(error), error.hint)
        self._summary()

    def take(self, line: str) -> bool:
        """Do what a line says; False where it ends the session."""
        if not line:
            return True
        if not line.startswith("/") or line.startswith("//"):
            self._send(line.removeprefix("/"))
        else:
            name, _, rest = line[1:].partition(" ")
            if name not in COMMANDS:
                hint = did_you_mean(name, COMMANDS, "/help lists the commands")
                raise SpecError(f"there is no command /{name}", hint=hint)
            COMMANDS[name][1](self, rest.strip())
        self._remind()
        return not self.session.state.ended

    # --- sending ---

    def _send(self, text: str) -> None:
        layer = self.plan.layer(self.session.state.context.layer)
        if self.manual or is_by_hand(layer):
            answer = "\n".join(self._block(f"Paste what came back, then a line {END}"))
            entry = self.session.record_by_hand(text, answer)
            console.say(f"#{entry.number} kept; /mark records it")
            return
        self._show(self.session.send(text, self._probe()))

    def _probe(self, layer: str = "") -> Probe:
        probe = of_layer(
            self.plan.layer(layer or self.session.state.context.layer),
            {name: name for name in self.judges},
            self.sampling,
        )
        if probe.destination and probe.destination != self.announced:
            console.say(f"texts go to {probe.destination}")
            self.announced = probe.destination
        if not probe.keeps_turns:
            console.say("this target takes one text at a time: /new begins each conversation")
        return probe

    def _block(self, ask: str) -> Iterator[str]:
        """The lines of a pasted text, up to the line that ends it."""
        console.say(ask)
        for line in self.lines:
            if line.strip() == END:
                return
            yield line

    def _show(self, entry: Exchange, reveal: bool = False) -> None:
        """An answer with what is known of it."""
        click.echo(self._text(entry, reveal), err=self.as_json)
        facts = [f"#{entry.number}", f"{entry.seconds:.1f} s", count(entry.tokens, "token"), f"key {entry.key[:12]}"]
        facts += {"length": ["cut at --max-tokens"], "filtered": ["stopped by the target's filter"]}.get(
            entry.finish, []
        )
        facts += [f"{verdict['judge']}: {verdict['outcome']}" for verdict in entry.judged]
        console.say("; ".join(facts))

    def _text(self, entry: Exchange, reveal: bool = False) -> str:
        """The answer; of a restricted harm its length alone, until somebody asks."""
        if is_restricted(self.plan, entry.context.harm) and not (self.reveal or reveal):
            return f"({count(len(entry.answer), 'character')}, hidden: /show {entry.number})"
        return visible(entry.answer) or "(empty)"

    def _remind(self) -> None:
        if self.session.break_due and not self.reminded:
            console.say("Time for a break: /pause. What you have is saved.")
        self.reminded = self.session.break_due

    def _summary(self) -> None:
        state = self.session.state
        parts = [f"{count(len(state.exchanges), 'exchange')}, {count(len(state.marks), 'attempt')} recorded"]
        if state.unmarked:
            parts.append("not recorded: " + ", ".join(f"#{entry.number}" for entry in state.unmarked[:20]))
        console.say("; ".join(parts))

    # --- recording ---

    def mark(self, rest: str) -> None:
        words = rest.split()
        if not words:
            raise SpecError("/mark needs a verdict", hint=f"verdicts: {', '.join(VERDICTS)}")
        severity = int(words.pop()) if len(words) > 1 and words[-1].isdigit() else None
        self._record(Mark(words[0], " ".join(words[1:]), severity, source="terminal"))

    def illegal(self, rest: str) -> None:
        """Record a finding whose texts must not be stored."""
        self._record(Mark("harmful", severity=4, description=rest, sensitivity="not_stored", source="terminal"))

    def _record(self, mark: Mark) -> None:
        head = self.session.state.exchange(self.session.state.head)
        if head and mark.verdict in FINDINGS and mark.sensitivity != "not_stored":
            near = self._similar(head.turn.original or head.turn.text)
            if near and self.interactive and not click.confirm("Record it all the same?", default=True, err=True):
                return
        new = self.session.mark(mark)
        console.say(f"{new.id} recorded: {new.verdict}" + (f", {new.harm_name}" if new.harm else ""))
        if self.as_json:
            click.echo(json.dumps(to_json(new), sort_keys=True))

    def _similar(self, text: str) -> bool:
        """Show what is like a text; whether some of it is the same but for a few letters."""
        state = self.session.state
        matches = peers.similar(self.session.store, self.plan, text, state.member, state.session)
        for match in matches:
            attempt = match.attempt
            severe = is_restricted(self.plan, attempt.harm) or (attempt.rated or 0) >= SEVERE
            words = "hidden" if severe else sent(attempt.turns)[:100]
            near = "the same" if match.near else "alike"
            console.say(f"{near}: {attempt.id} of {attempt.tester}, {attempt.verdict}: {words}")
        return any(match.near for match in matches)

    def shot(self, rest: str) -> None:
        try:
            path = Path(rest).expanduser()
            size = path.stat().st_size
            data = path.read_bytes() if path.is_file() and size <= files.LARGEST else b""
        except OSError as error:
            raise SpecError(f"cannot read {rest}: {error.strerror}", hint="/shot PATH of a picture") from error
        self.session.attach(files.keep(self.session.store, data))
        console.say("attached to the next /mark")

    def note(self, rest: str) -> None:
        """A note for the next mark; with "?" a question, with "!" an access problem for who runs the round."""
        about = {"?": "question", "!": "access"}.get(rest[:1], "pair")
        self.session.note(rest.lstrip("?! "), about)  # type: ignore[arg-type] # one of the three

    # --- moving ---

    def branch(self, rest: str) -> None:
        if match := re.fullmatch(r"(S-[\w-]+):(\d+)", rest):
            self.session.branch_from(self._readable(match[1]), int(match[2]))
        else:
            self.session.branch(whole(rest, "/branch N, or /branch SESSION:N of somebody else"))

    def text(self, _: str) -> None:
        self._send("\n".join(self._block(f"Write, then a line {END}")))

    def retry(self, rest: str) -> None:
        entries = self.session.retry(whole(rest or "1", "/retry N"), self._probe())
        for entry in entries:
            self._show(entry)
        if entries[1:]:
            answers = Counter(entry.answer for entry in entries)
            outcomes = Counter(f"{v['judge']} says {v['outcome']}" for entry in entries for v in entry.judged)
            parts = [
                f"{len(answers)} different answers" if len(answers) > 1 else "all answers equal",
                *(f"{name}: {n}" for name, n in outcomes.items()),
            ]
            console.say(f"{len(entries)} tries: {'; '.join(parts)}")

    def context(self, name: str) -> Callable[[str], None]:
        def change(rest: str) -> None:
            self.session.change(**{name: rest})
            console.say(f"{name}: {rest or 'none'}")

        return change

    def compare(self, rest: str) -> None:
        """The texts of this conversation to two layers, side by side."""
        layers, path = rest.split(), self.session.state.path()
        if len(layers) != 2 or not path:
            raise SpecError("/compare needs two layers and a conversation", hint="send something, then /compare A B")
        ends = compare(self.session, layers, self._probe)
        for line in beside(*(f"{layer}, #{e.number}\n{self._text(e)}" for layer, e in zip(layers, ends, strict=True))):
            click.echo(line, err=self.as_json)

    def convert(self, rest: str) -> None:
        converter, _, text = rest.partition(" ")
        head = self.session.state.exchange(self.session.state.head)
        if not converter or not (text or head):
            raise SpecError("/convert needs a code and a text", hint="/convert base64 TEXT, or alone for the last text")
        if text:
            self._show(self.session.send(text, self._probe(), converter))
        elif head:
            last = head.turn.original or head.turn.text
            self._show(self.session.send(last, self._probe(), converter, "", head.parent, head.number))

    # --- looking ---

    def similar(self, rest: str) -> None:
        head = self.session.state.exchange(self.session.state.head)
        text = rest or (head.turn.original or head.turn.text if head else "")
        self._similar(text)

    def ideas(self, _: str) -> None:
        """Places that nobody tried, with the plan's own examples; in an open round no harm and no example."""
        state = self.session.state
        for need in peers.needs(self.session.store, self.plan, state.round, state.member, 3):
            self._need(need)
            if need.harm:
                harm = self.plan.harm(need.harm)
                console.say(f"  {harm.definition or harm.title}")
                for near in harm.near_misses[:2]:
                    console.say(f"  no harm yet: {near}")

    def tasks(self, _: str) -> None:
        state = self.session.state
        for task in peers.tasks(self.session.store, self.plan, state.round, state.member):
            console.say(f"{place(task)}: {task.minutes:.0f} min")

    def need(self, _: str) -> None:
        state = self.session.state
        needs = peers.needs(self.session.store, self.plan, state.round, state.member)
        for need in needs:
            self._need(need)
        if not needs:
            console.say("no cell of this round lacks attempts")

    def _need(self, need: Cell) -> None:
        console.say(f"{place(need)}: {need.tally.attempts} of {count(need.need, 'attempt')}")

    def harms(self, _: str) -> None:
        for harm in self.plan.active:
            own = (
                " (you opted out)"
                if harm.id in peers.hidden_harms(self.session.store, self.plan, self.session.state.member)
                else ""
            )
            console.say(f"{harm.id}, severity {harm.severity}{own}: {harm.title}. {harm.definition}")

    def sessions(self, _: str) -> None:
        for state in peers.sessions(self.session.store, self.plan):
            if peers.may_read(self.plan, self.session.state.member, state.member):
                open_ = "" if state.ended else ", open"
                console.say(
                    f"{state.session} {state.member} {state.round}: {count(state.exchanges, 'exchange')}{open_}"
                )

    def view(self, rest: str) -> None:
        """Somebody's session, to read."""
        state = self._readable(rest)
        self.session.see(state, [entry.number for entry in state.exchanges])
        hidden = peers.hidden_harms(self.session.store, self.plan, self.session.state.member)
        for entry in state.exchanges:
            console.say(f"#{entry.number} after #{entry.parent} on {entry.context.layer}")
            if entry.purged or entry.context.harm in hidden:
                console.say("(erased)" if entry.purged else "(you opted out of this harm)")
                continue
            click.echo(visible(entry.turn.text), err=self.as_json)
            self._show(entry)

    def _readable(self, name: str) -> State:
        if state := peers.readable(self.session.store, self.plan, self.session.state.member, name):
            return state
        raise SpecError(f"there is no session {name!r} to read", hint="/sessions lists them")

    def show(self, rest: str) -> None:
        number = whole(rest, "/show N") if rest else self.session.state.head
        entry = self.session.state.exchange(number)
        if entry is None:
            raise SpecError("there is nothing to show", hint="/show N of an exchange")
        click.echo(visible(entry.turn.text), err=self.as_json)
        self._show(entry, reveal=True)

    def time(self, _: str) -> None:
        session, state = self.session, self.session.state
        used = hours.active(session.store, self.plan.id).get((state.round, state.member), 0.0)
        planned = self.plan.member(state.member).hours_per_round
        of = f" of {planned:g} h" if planned else ""
        console.say(
            f"{used / 60:.0f} min{of} in this round, {state.active / 60:.0f} in this session; "
            f"{session.exposure} of at most {session.cap} severe items today"
        )

    def pause(self, _: str) -> None:
        if self.session.state.paused:
            self.session.resume()
            console.say("going on")
        else:
            self.session.pause()
            console.say("on a break; /pause goes on")

    def skip(self, rest: str) -> None:
        harm = self.session.state.context.harm
        self.session.skip(rest)
        console.say(f"{harm} is left to others; nothing counts against you")

    def end(self, _: str) -> None:
        self.session.end()

    def help(self, _: str) -> None:
        console.say("a line without / is sent to the layer; // begins one with /")
        for name, (usage, _run) in COMMANDS.items():
            console.say(f"/{name} {usage}")


Run = Callable[[Console, str], None]

COMMANDS: dict[str, tuple[str, Run]] = {
    "text": (f"send several lines, up to a line {END}", Console.text),
    "mark": ("harmful|borderline|ok|unsure|refused|error [HARM] [1-4]: record the last exchange", Console.mark),
    "illegal": ("DESCRIPTION: record it without its texts", Console.illegal),
    "new": ("begin a new conversation", lambda console, _: console.session.new()),
    "undo": ("go back before the last exchange", lambda console, _: console.session.undo()),
    "branch": ("N: go on after exchange N; SESSION:N: after one of somebody else", Console.branch),
    "retry": ("[N]: ask again N times, and count", Console.retry),
    "persona": ("ID", lambda console, rest: console.context("persona")(rest)),
    "feature": ("ID", lambda console, rest: console.context("feature")(rest)),
    "harm": ("ID: what you look for", lambda console, rest: console.context("harm")(rest)),
    "layer": ("ID: another layer, in a new conversation", lambda console, rest: console.context("layer")(rest)),
    "system": ("TEXT: a system prompt, in a new conversation", lambda console, rest: console.context("system")(rest)),
    "compare": ("A B: this conversation's texts to two layers, side by side", Console.compare),
    "convert": ("CODE [TEXT]: send the text (or the last one) in a code, such as base64", Console.convert),
    "similar": ("[TEXT]: what others recorded that is alike", Console.similar),
    "ideas": ("places to try", Console.ideas),
    "harms": ("the harms of the plan", Console.harms),
    "tasks": ("what was assigned to you", Console.tasks),
    "need": ("places that lack attempts", Console.need),
    "shot": ("PATH: attach a picture to the next /mark", Console.shot),
    "note": ("TEXT: for the next /mark; ? TEXT asks, ! TEXT says what you cannot reach", Console.note),
    "sessions": ("the sessions of the team", Console.sessions),
    "view": ("SESSION: read it", Console.view),
    "show": ("[N]: an exchange with its hidden answer", Console.show),
    "time": ("time used, severe findings met today", Console.time),
    "pause": ("a break, and back", Console.pause),
    "skip": ("[REASON]: leave the harm at hand to others, without penalty", Console.skip),
    "help": ("this list", Console.help),
    "quit": ("end the session", Console.end),
}
"""Name -> what follows it, and what it does."""
