"""The probe console: a prompt by hand, through a target, its defense and judges, and what people found with it.

A probe is an ordinary ask: the same flows, the same driver, its rows in the store. It may reach what runs of the store
have named, and nothing else: a browser chooses from a list and names no component.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Json,
    Judge,
    Message,
    Sampling,
    SpecError,
    Target,
    digest,
    to_json,
)
from withstand.explorer.app import PageRequest
from withstand.explorer.read import part
from withstand.explorer.security import Refused
from withstand.registry import find
from withstand.registry.stored import OFFICIAL, stored
from withstand.runner.drive import Job, completion_of, drive
from withstand.runner.stages import asked_once, verdict_job
from withstand.runner.suites import check_offline
from withstand.runner.tally import Tally
from withstand.store.attempts import NEW_HARM, SEVERITIES, Attempt, Turn, add, attempts, new_id
from withstand.store.store import Store
from withstand.store.tables import COMPLETIONS, VERDICTS

LONGEST_PROMPT = 100_000
"""Characters."""
TURNS = 40


def choices(asked: PageRequest) -> dict[str, dict[str, Any]]:
    """Targets, defenses and judges of the store's runs, by label; none of those that somebody else recorded."""
    options: dict[str, dict[str, Any]] = {"target": {}, "defense": {"none": {"use": "none"}}, "judge": {}}
    for run in asked.explorer.index.runs():
        spec = run.spec
        if "imported" in spec or not run.is_trusted:
            continue
        for target in _many(spec.get("target")):
            if isinstance(target, Mapping) and "defense" in target:
                _add(asked, options, "defense", target["defense"])
                target = {name: value for name, value in target.items() if name != "defense"}
            _add(asked, options, "target", target)
        for defense in _many(spec.get("defense")):
            _add(asked, options, "defense", defense)
        for judge in _many(spec.get("judge")):
            _add(asked, options, "judge", judge)
        for cell in run.plan["cells"]:  # a suite's own judges, which a spec need not name
            if re.fullmatch(r"[a-z_]\w*", cell["judge"]):
                _add(asked, options, "judge", cell["judge"])
    return options


def _many(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, (str, Mapping)) else list(value)


def _add(asked: PageRequest, options: dict[str, dict[str, Any]], kind: str, spec: Any) -> None:
    """Offer a component, spelled out by what a store may say. Nothing is built for it."""
    try:
        checked = stored(kind, spec, asked.explorer.own_code)
        options[kind].setdefault("none" if checked["use"] == "none" else find.label(kind, spec), checked)
    except (SpecError, ImportError):
        return  # it cannot be asked from here


def page(asked: PageRequest) -> Response:
    """The console with the conversation so far."""
    asked.need("admin")
    talk = asked.session.probe
    return asked.page("probe", choices=choices(asked), talk=talk, now=talk, severities=SEVERITIES, **_whose(asked))


def _whose(asked: PageRequest) -> dict[str, Any]:
    """What the page says of runs that somebody else recorded."""
    others = sum(not run.is_trusted for run in asked.explorer.index.runs())
    return {"others": others, "where": asked.explorer.store.where}


def send(asked: PageRequest) -> Response:
    """Ask the target, have the judges grade the answer."""
    asked.need("admin")
    if asked.form.get("new"):
        asked.session.probe = {}
        return asked.to("/probe")
    options, prompt = choices(asked), str(asked.form.get("prompt", ""))
    view = {"choices": options, "talk": asked.session.probe, "severities": SEVERITIES, "draft": prompt}
    try:
        asked.session.probe = _asked(asked, options, asked.form, prompt)
    except Unconfirmed as error:
        now = {**asked.form, "judges": asked.form.get("judge[]", [])}
        return asked.page("probe", 409, **view, **_whose(asked), confirm=str(error), now=now)
    except SpecError as error:
        return asked.page(
            "probe", 400, **view, **_whose(asked), now=asked.session.probe, problem=str(error), hint=error.hint
        )
    return asked.to("/probe")


class Unconfirmed(Exception):  # noqa: N818 - a question, not an error
    """The person has not said yet that a prompt may go to these hosts, with these variables."""


def _confirm(asked: PageRequest, models: Sequence[Any]) -> None:
    """Raise `Unconfirmed` until this person has seen and confirmed where a prompt goes and which secrets go with it."""
    hosts = sorted({host for model in models for host in model.hosts})
    variables = sorted({name for model in models if (name := _variable(model))})
    if not hosts:
        return
    destination = ", ".join(hosts) + (f" with the key in {', '.join(variables)}" if variables else "")
    if asked.form.get("confirm") == destination:
        asked.session.confirmed.add(destination)
    if destination not in asked.session.confirmed:
        raise Unconfirmed(destination)


def _variable(model: Any) -> str:
    """The environment variable whose value goes to the model's host; "" where none does."""
    if not hasattr(model, "key_env"):
        return ""
    usual = "OPENAI_API_KEY" if OFFICIAL in model.hosts else ""
    return str(model.key_env) or usual


def _asked(asked: PageRequest, options: Mapping[str, Any], form: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    if not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        raise SpecError("write a prompt", hint=f"1 to {LONGEST_PROMPT:,} characters")
    chosen = {name: str(form.get(name, "")) for name in ("target", "defense")}
    judges = [str(name) for name in form.get("judge[]", [])]
    for kind, names in (("target", [chosen["target"]]), ("defense", [chosen["defense"]]), ("judge", judges)):
        for name in names:
            if name not in options[kind]:
                raise SpecError(f"no run of this store has the {kind} {name!r}", hint="choose one from the list")
    old = asked.session.probe if form.get("go_on") else {}
    turns: list[dict[str, str]] = list(old.get("turns", []))
    if len(turns) >= TURNS:
        raise SpecError(f"a conversation has at most {TURNS} turns", hint="begin a new one")
    system = str(form.get("system", "")).strip()
    if not turns and system:
        turns.append({"role": "system", "text": system[:LONGEST_PROMPT]})
    turns.append({"role": "user", "text": prompt})
    behavior = Behavior("probe", str(form.get("behavior", "")).strip()[:2_000] or prompt)
    spec, defense = options["target"][chosen["target"]], options["defense"][chosen["defense"]]
    temperature, tokens = str(form.get("temperature", "0") or "0"), str(form.get("max_tokens", "512") or "512")
    try:
        sampling = Sampling(max_tokens=min(int(tokens), 8_192), temperature=float(temperature))
    except ValueError as error:
        raise SpecError("temperature and answer tokens are numbers") from error
    target = Target(
        find.build("target", spec), None if defense["use"] == "none" else find.build("defense", defense), sampling
    )
    built = {name: find.build("judge", options["judge"][name]) for name in judges}
    chat = tuple(Message(turn["role"], turn["text"]) for turn in turns)  # type: ignore[arg-type] # of the roles
    models = list(find.models((target.model, target.defense, list(built.values()))))
    _confirm(asked, models)
    _check(asked, target, models, chat)
    with asked.explorer.probing:  # one at a time: a model has one device
        answer, verdicts = ask(asked.explorer.store, target, built, behavior, chat)
    asked.explorer.audit(asked.who, "probe", f"{chosen['target']}, defense {chosen['defense']}")
    turns.append({"role": "assistant", "text": answer.text})
    return {
        **chosen, "judges": judges, "turns": turns, "behavior": behavior.text if behavior.text != prompt else "",
        "finish": answer.finish, "verdicts": verdicts, "tokens": answer.tokens, "seconds": answer.seconds,
        "reasoning": answer.reasoning, "temperature": sampling.temperature, "max_tokens": sampling.max_tokens,
    }  # fmt: skip


def _check(asked: PageRequest, target: Target, models: Sequence[Any], chat: Chat) -> None:
    needs = {"system"} if any(turn.role == "system" for turn in chat) else set()
    needs |= {"turns"} if sum(turn.role == "user" for turn in chat) > 1 else set()
    if lacking := sorted(needs - target.model.gives):
        raise SpecError(f"this target does not take {' or '.join(lacking)}", hint="begin a new conversation")
    for model in models:
        if asked.explorer.offline:
            check_offline(model.hosts)
        model.check()


def ask(
    store: Store, target: Target, judges: Mapping[str, Judge], behavior: Behavior, chat: Chat
) -> tuple[Completion, list[Json]]:
    """One fresh answer of the target and the judges' verdicts on it. Raises `SpecError` if there is no answer."""
    parts = [find.describe(target.model), find.describe(target.defense), to_json(target.sampling), to_json(chat)]
    key = digest(["probe", *parts, time.time_ns()])
    tally = Tally()
    drive([Job((key,), key, COMPLETIONS, lambda: asked_once(key, target, chat))], store, tally)
    row = store.rows([key]).get(key)
    if row is None:
        failure = tally.failures[0]
        raise SpecError(failure.error, hint=failure.hint)
    answer = completion_of(chat, row.value)
    jobs = {
        name: verdict_job(judge, digest(find.describe(judge)), behavior, answer, [key], counted=False)
        for name, judge in judges.items()
    }
    judged = Tally(stage=VERDICTS)
    drive(jobs.values(), store, judged)
    rows = store.rows(job.keys[0] for job in jobs.values())
    errors = {failure.key: failure.error for failure in judged.failures}
    keys = {name: job.keys[0] for name, job in jobs.items()}
    return answer, [_verdict(name, rows.get(key), errors.get(key, "")) for name, key in keys.items()]


def _verdict(name: str, row: Any, error: str) -> Json:
    if row is None:
        return {"judge": name, "outcome": "error", "why": error or "no verdict", "score": None}
    return {"judge": name, "outcome": row.label, "why": row.value.get("why", ""), "score": row.value.get("score")}


# --- findings ----------------------------------------------------------------------------------------------------


def findings(asked: PageRequest) -> Response:
    """What people found, newest first."""
    run_key = asked.query.get("run", "")
    names = {run.key: run.name for run in asked.explorer.index.runs()}
    listed = [
        _shown(asked, finding, names)
        for finding in attempts(asked.explorer.store)
        if finding.is_finding and (not run_key or (finding.run and finding.run.startswith(run_key)))
    ]
    return asked.page("findings", listed=listed)


def _shown(asked: PageRequest, finding: Attempt, names: Mapping[str, str]) -> dict[str, Any]:
    """What the page shows of a finding. names: of runs, by key."""
    shown = asked.shows(f"finding/{finding.id}")
    texts = [*((turn.role, turn.text) for turn in finding.turns), *([("assistant", finding.output)])]
    return {
        "it": finding, "shown": shown, "run_name": names.get(finding.run, ""),
        "parts": [part(role, text, shown) for role, text in texts if text],
    }  # fmt: skip


def save(asked: PageRequest) -> Response:
    """Keep a finding: of the console's conversation, or of a case of a run."""
    asked.need("labeler")
    form = asked.form
    severity, harm = str(form.get("severity", "")), str(form.get("harm", "")).strip()[:200]
    if severity not in SEVERITIES or not harm:
        raise Refused(400, "a finding has a harm and a severity", f"severity: {', '.join(SEVERITIES)}")
    facts: dict[str, Any] = {
        "verdict": "harmful", "tester": asked.who, "editor": asked.who, "harm": f"{NEW_HARM}{harm}",
        "severity": SEVERITIES.index(severity) + 1, "notes": str(form.get("note", "")).strip()[:10_000],
    }  # fmt: skip
    place = str(form.get("place", ""))
    turns, output, about = _of_case(asked, place) if place else _of_probe(asked)
    now = time.time()
    named = new_id("", asked.who, now, turns, output)
    add(asked.explorer.store, Attempt(named, turns, output, surfaced=now, created=now, **facts, **about))
    return asked.to("/findings")


def _of_probe(asked: PageRequest) -> tuple[tuple[Turn, ...], str, dict[str, Any]]:
    """What was sent, the answer, and what else an attempt says of them."""
    talk = asked.session.probe
    if not talk:
        raise Refused(400, "there is no answer to keep", "ask something first")
    *turns, answer = (Turn(turn["role"], turn["text"]) for turn in talk["turns"])
    return tuple(turns), answer.text, {
        "target": talk["target"], "mitigations": talk["defense"], "judged": tuple(talk["verdicts"]),
        "behavior": talk["behavior"], "params": {name: talk[name] for name in ("temperature", "max_tokens", "finish")},
    }  # fmt: skip


def _of_case(asked: PageRequest, place: str) -> tuple[tuple[Turn, ...], str, dict[str, Any]]:
    head, _, text = place.partition("/")
    if not head or not text:
        raise Refused(404, "this store has no such case")
    run, spot = asked.run(head), asked.spot(text)
    case, cell = asked.case(run, spot), run.plan["cells"][spot[0]]
    turns = tuple(Turn(turn.role, turn.text) for turn in case.chat)
    verdict = {"judge": cell["judge"], "outcome": case.outcome, "why": case.why, "score": case.score}
    return turns, case.completion or "", {
        "source": "case", "run": run.key, "spot": tuple(spot), "behavior": case.text, "target": cell["target"],
        "mitigations": cell["defense"], "technique": cell["attack"], "judged": (verdict,),
        "params": {"finish": case.finish},
    }  # fmt: skip


ROUTES = (
    ("/probe", page, ["GET"]),
    ("/probe", send, ["POST"]),
    ("/findings", findings, ["GET"]),
    ("/findings", save, ["POST"]),
)
