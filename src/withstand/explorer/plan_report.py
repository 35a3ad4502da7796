"""The report of a red team: a preview, and its files at three levels of detail."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from withstand.core import SpecError
from withstand.core.text import count
from withstand.explorer import team
from withstand.explorer.app import PageRequest, attachment
from withstand.explorer.security import Refused
from withstand.redteam.plan.records import Plan
from withstand.redteam.report.document import Document, kind_of
from withstand.redteam.report.facts import LEVELS, Level
from withstand.redteam.report.page import FORMATS, checked, report
from withstand.redteam.tables import Problem
from withstand.store.attempts import attempts

KINDS = {"md": "text/markdown", "html": "text/html", "json": "application/json"}


def page(asked: PageRequest) -> Response:
    """What reports there are; for htmx the preview, which reads all that was recorded and comes after the page."""
    plan, level = team.plan_of(asked), _level(asked)
    values: dict[str, Any] = {
        "plan": plan,
        "level": level,
        "round": asked.query.get("round", ""),
        "levels": _levels(asked),
    }
    if not asked.partial and "preview" not in asked.query:
        return asked.page("plan_report", **values, formats=FORMATS, texts=_may_have_texts(asked))
    document, _, problems = _report(asked, plan, level, "md", reveal=False)
    return asked.page("_plan_report", **values, document=document, problems=problems, kind_of=kind_of)


def _levels(asked: PageRequest) -> tuple[Level, ...]:
    """The levels that this person may read. The full one has all findings, people and targets."""
    is_member = asked.may("labeler") and not team.only(asked)
    return LEVELS if asked.may("admin") or is_member else tuple(level for level in LEVELS if level != "full")


def _level(asked: PageRequest) -> Level:
    """The level that the request names. Raises `Refused` for one that this person may not read."""
    wanted = str(asked.query.get("level") or asked.form.get("level") or "moderate")
    for level in _levels(asked):
        if level == wanted:
            return level
    if wanted in LEVELS:
        raise Refused(403, "the full report is for the team", "a moderate one has redacted examples")
    raise SpecError(f"{wanted!r} is no level of detail", hint=f"levels: {', '.join(LEVELS)}")


def _report(
    asked: PageRequest, plan: Plan, level: Level, form: str, reveal: bool
) -> tuple[Document, str, Sequence[Problem]]:  # fmt: skip
    """The report, its text in a form, and what its linter says."""
    store, round_id = asked.explorer.store, str(asked.query.get("round") or asked.form.get("round") or "")
    recorded = attempts(store, plan.id)
    document = report(plan, store, round_id or None, level, reveal, recorded=recorded)
    return document, *checked(document, form, recorded)


def _may_have_texts(asked: PageRequest) -> bool:
    return asked.explorer.with_text and asked.may_write("admin")


def keep(asked: PageRequest) -> Response:
    """A file of the report, without texts."""
    return _file(asked, reveal=False)


def keep_texts(asked: PageRequest) -> Response:
    """The full report with texts that are not restricted, for an admin, where the server was started for that."""
    asked.need("admin")
    if not _may_have_texts(asked):
        raise Refused(403, "this explorer exports no texts", "start it with --with-text")
    return _file(asked, reveal=True)


def _file(asked: PageRequest, reveal: bool) -> Response:
    plan, form = team.plan_of(asked), asked.request.path_params["form"]
    if form not in KINDS:
        raise Refused(404, f"no report ends in .{form}", f"forms: {', '.join(FORMATS)}")
    level: Level = "full" if reveal else _level(asked)
    document, text, problems = _report(asked, plan, level, form, reveal)
    if problems:
        first = f"{problems[0].place}: {problems[0].message}"
        message = f"the linter finds {count(len(problems), 'error')} in this report: {first}"
        raise SpecError(message, hint="mend the words in the plan or the findings; the preview lists all")
    name = f"{plan.id}{f'-{document.round}' if document.round else ''}-{level}.{form}"
    if reveal:
        asked.explorer.audit(asked.who, "export", f"report {name}, with texts")
    elif not asked.explorer.read_only and (plan.id, name) not in asked.session.downloaded:
        asked.explorer.audit(asked.who, "download", f"report {name}, without texts")
        asked.session.downloaded.add((plan.id, name))
    return Response(text.encode("utf-8", "replace"), media_type=KINDS[form], headers=attachment(name))


ROUTES = (
    ("/plan/report", page, ["GET"]),
    ("/plan/report.{form}", keep, ["GET"]),
    ("/plan/report.{form}", keep_texts, ["POST"]),
)
