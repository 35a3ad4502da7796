"""The probe console: a prompt by hand, through a target, its defense and judges, and what people found with it.

A probe is an ordinary ask: the same flows, the same driver, its rows in the store. It may reach what runs of the store
have named, and nothing else: a browser chooses from a list and names no component.
"""

import re
import time
from collections.abc import Mapping
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
from withstand.explorer.read import LONGEST, blurred, parts_of, place_of
from withstand.explorer.security import Refused
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.results.cases import picked
from withstand.results.cells import OUTCOME_WORDS
from withstand.runner.drive import Job, completion_of, drive
from withstand.runner.replay import check_own_code
from withstand.runner.stages import asked_once, verdict_job
from withstand.runner.suites import check_offline
from withstand.runner.tally import Tally
from withstand.store.store import Store
from withstand.store.tables import COMPLETIONS, VERDICTS

SEVERITIES = ("low", "medium", "high", "critical")
LONGEST_PROMPT = 100_000
"""Characters."""
TURNS = 40


def choices(asked: PageRequest) -> dict[str, dict[str, Any]]:
    """Targets, defenses and judges of the store's runs, by label."""
    options: dict[str, dict[str, Any]] = {"target": {}, "defense": {"none": {"use": "none"}}, "judge": {}}
    for run in asked.explorer.index.runs():
        spec = run.spec
        if "imported" in spec:
            continue
        for target in _many(spec.get("target")):
            own = dict(spec_of(target))
            if "defense" in own:
                _add(asked, options, "defense", own.pop("defense"))
            _add(asked, options, "target", own)
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
    try:
        if not asked.explorer.own_code:
            check_own_code(spec_of(spec))
        options[kind].setdefault("none" if spec_of(spec)["use"] == "none" else find.label(kind, spec), spec_of(spec))
    except (SpecError, ImportError):
        return  # it cannot be asked from here


def page(asked: PageRequest) -> Response:
    """The console with the conversation so far."""
    asked.need("admin")
    talk = asked.session.probe
    shown = asked.explorer.reveal or asked.session.reveal or bool(talk)  # what was written here was asked for
    return asked.page(
        "probe", choices=choices(asked), talk=talk, shown=shown, severities=SEVERITIES, problem="", hint="", draft="",
        words=OUTCOME_WORDS,
    )  # fmt: skip


def send(asked: PageRequest) -> Response:
    """Ask the target, have the judges grade the answer."""
    asked.need("admin")
    if asked.form.get("new"):
        asked.session.probe = {}
        return asked.to("/probe")
    indexed, form = choices(asked), asked.form
    prompt = str(form.get("prompt", ""))
    try:
        talk = _asked(asked, indexed, form, prompt)
    except SpecError as error:
        return asked.page(
            "probe", 400, choices=indexed, talk=asked.session.probe, shown=True, severities=SEVERITIES,
            problem=str(error), hint=error.hint, draft=prompt, words=OUTCOME_WORDS,
        )  # fmt: skip
    asked.session.probe = talk
    return asked.to("/probe")


def _asked(asked: PageRequest, indexed: Mapping[str, Any], form: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    if not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        raise SpecError("write a prompt", hint=f"1 to {LONGEST_PROMPT:,} characters")
    chosen = {name: str(form.get(name, "")) for name in ("target", "defense")}
    judges = [str(name) for name in form.get("judge[]", [])]
    for kind, names in (("target", [chosen["target"]]), ("defense", [chosen["defense"]]), ("judge", judges)):
        for name in names:
            if name not in indexed[kind]:
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
    spec, defense = indexed["target"][chosen["target"]], indexed["defense"][chosen["defense"]]
    temperature, tokens = str(form.get("temperature", "0") or "0"), str(form.get("max_tokens", "512") or "512")
    try:
        sampling = Sampling(max_tokens=min(int(tokens), 8_192), temperature=float(temperature))
    except ValueError as error:
        raise SpecError("temperature and answer tokens are numbers") from error
    target = Target(
        find.build("target", spec), None if defense["use"] == "none" else find.build("defense", defense), sampling
    )
    built = {name: find.build("judge", indexed["judge"][name]) for name in judges}
    chat = tuple(Message(turn["role"], turn["text"]) for turn in turns)  # type: ignore[arg-type] # of the roles
    _check(asked, target, list(built.values()), chat)
    with asked.explorer.probing:  # one at a time: a model has one device
        answer, verdicts = ask(asked.explorer.store, target, built, behavior, chat)
    asked.explorer.audit(asked.who, "probe", f"{chosen['target']}, defense {chosen['defense']}")
    turns.append({"role": "assistant", "text": answer.text})
    return {
        **chosen, "judges": judges, "turns": turns, "behavior": behavior.text if behavior.text != prompt else "",
        "finish": answer.finish, "verdicts": verdicts, "tokens": answer.tokens, "seconds": answer.seconds,
        "reasoning": answer.reasoning, "temperature": sampling.temperature, "max_tokens": sampling.max_tokens,
    }  # fmt: skip


def _check(asked: PageRequest, target: Target, judges: list[Judge], chat: Chat) -> None:
    needs = {"system"} if any(turn.role == "system" for turn in chat) else set()
    needs |= {"turns"} if sum(turn.role == "user" for turn in chat) > 1 else set()
    if lacking := sorted(needs - target.model.gives):
        raise SpecError(f"this target does not take {' or '.join(lacking)}", hint="begin a new conversation")
    for part in find.parts((target.model, target.defense, judges)):
        if hasattr(part, "generate"):
            if asked.explorer.offline:
                check_offline(part.hosts)
            part.check()


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
    listed = [
        finding
        for finding in asked.explorer.store.findings()
        if not run_key or (finding["run_key"] and finding["run_key"].startswith(run_key))
    ]
    names = {run.key: run.name for run in asked.explorer.index.runs()}
    shown = asked.explorer.reveal or asked.session.reveal
    for finding in listed:
        revealed = shown or f"finding/{finding['key'][:16]}" in asked.session.revealed
        finding["shown"] = revealed
        finding["run_name"] = names.get(finding["run_key"], "")
        finding["parts"] = [
            {"role": role, "text": text[:LONGEST] if revealed else "", "length": len(text), "lines": blurred(len(text))}
            for role, text in _texts(finding)
        ]
    return asked.page("findings", listed=listed, severities=SEVERITIES, words=OUTCOME_WORDS)


def _texts(finding: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["text"]) for turn in finding["chat"]]


def save(asked: PageRequest) -> Response:
    """Keep a finding: of the console's conversation, or of a case of a run."""
    asked.need("labeler")
    form = asked.form
    severity, harm = str(form.get("severity", "")), str(form.get("harm", "")).strip()[:200]
    if severity not in SEVERITIES or not harm:
        raise Refused(400, "a finding has a harm and a severity", f"severity: {', '.join(SEVERITIES)}")
    value: dict[str, Any] = {
        "harm": harm, "severity": severity, "note": str(form.get("note", "")).strip()[:10_000], "person": asked.who,
        "created": time.time(),
    }  # fmt: skip
    if form.get("place"):
        run_key, about = _of_case(asked, str(form["place"]))
    else:
        run_key, about = "", _of_probe(asked)
    asked.explorer.store.add_finding(run_key, value | about)
    return asked.to("/findings")


def _of_probe(asked: PageRequest) -> dict[str, Any]:
    talk = asked.session.probe
    if not talk:
        raise Refused(400, "there is no answer to keep", "ask something first")
    names = ("target", "defense", "verdicts", "finish", "temperature", "max_tokens")
    return {
        "source": "probe",
        "chat": talk["turns"],
        "behavior": talk["behavior"],
        **{name: talk[name] for name in names},
    }


def _of_case(asked: PageRequest, place: str) -> tuple[str, dict[str, Any]]:
    head, _, spot = place.partition("/")
    run = next((run for run in asked.explorer.index.runs() if run.key.startswith(head) and len(head) >= 12), None)
    if run is None or not re.fullmatch(r"\d+(\.\d+){3}", spot):
        raise Refused(404, "this store has no such case")
    first, second, number, sample = map(int, spot.split("."))
    records = (
        picked(asked.explorer.store, run, [(first, second, number, sample)]) if first < len(run.plan["cells"]) else []
    )
    if not records:
        raise Refused(404, "this store has no such case")
    case, cell = records[0], run.plan["cells"][first]
    chat = [
        {"role": role, "text": text} for kind, role, text in parts_of(case) if role not in ("behavior", "judge says")
    ]
    verdict = {"judge": cell["judge"], "outcome": case.outcome, "why": case.why, "score": case.score}
    return run.key, {
        "source": "case", "spot": [first, second, number, sample], "chat": chat, "behavior": case.text,
        "target": cell["target"], "defense": cell["defense"], "attack": cell["attack"], "finish": case.finish,
        "verdicts": [verdict], "place": place_of(run.key, (first, second, number, sample)),
    }  # fmt: skip


ROUTES = (
    ("/probe", page, ["GET"]),
    ("/probe", send, ["POST"]),
    ("/findings", findings, ["GET"]),
    ("/findings", save, ["POST"]),
)
