"""Saving a finding of the console or of a case of a run."""

import time
from typing import Any

from starlette.responses import Response

from withstand.explorer import console_desk as desk
from withstand.explorer.app import PageRequest
from withstand.explorer.security import Refused
from withstand.redteam.console.marking import Mark
from withstand.store.attempts import NEW_HARM, SEVERITIES, Attempt, Turn, add, new_id


def save(asked: PageRequest) -> Response:
    """Keep a finding: of the console's conversation, or of a case of a run."""
    asked.need("labeler")
    form = asked.form
    severity, harm = str(form.get("severity", "")), str(form.get("harm", "")).strip()[:200]
    if severity not in SEVERITIES or not harm:
        raise Refused(400, "a finding has a harm and a severity", f"severity: {', '.join(SEVERITIES)}")
    facts: dict[str, Any] = {
        "verdict": "harmful", "harm": f"{NEW_HARM}{harm}", "severity": SEVERITIES.index(severity) + 1,
        "notes": str(form.get("note", "")).strip()[:10_000],
    }  # fmt: skip
    if not form.get("place"):
        session = desk.current(asked)
        if session is None or not session.state.path():
            raise Refused(400, "there is no answer to keep", "ask something first")
        session.mark(Mark(**facts))
        return asked.to("/findings")
    facts |= {"tester": asked.who, "editor": asked.who}
    turns, output, about = _of_case(asked, str(form["place"]))
    now = time.time()
    named = new_id("", asked.who, now, turns, output)
    add(asked.explorer.store, Attempt(named, turns, output, surfaced=now, created=now, **facts, **about))
    return asked.to("/findings")


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


ROUTES = (("/findings", save, ["POST"]),)
