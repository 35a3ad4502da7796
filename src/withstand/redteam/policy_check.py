"""What `withstand policy check` says of a policy: errors, and what its owner should look at again."""

from collections.abc import Iterator
from pathlib import Path

from withstand.core import SpecError, did_you_mean
from withstand.core.taxonomy import UNCOVERED
from withstand.core.text import head_of
from withstand.redteam.policy import SCHEMA, Policy, policy_of, read_policy
from withstand.redteam.policy_diff import refusals
from withstand.redteam.tables import Problem, Problems, read_tables
from withstand.registry import find


def check(path: str | Path) -> tuple[Policy | None, tuple[Problem, ...]]:
    """The policy, None where it has errors, and all problems of it: errors first.

    Raises `SpecError` where the file is no policy at all: it is not there, no TOML, or says no schema.
    """
    problems = Problems(str(path))
    policy = policy_of(problems, read_tables(path, SCHEMA))
    listed = [*problems.listed, *_superseded(policy), *_examples(policy), *_suites(policy), *_advice(policy)]
    listed.sort(key=lambda problem: problem.level != "error")
    return None if any(problem.level == "error" for problem in listed) else policy, tuple(listed)


def _superseded(policy: Policy) -> Iterator[Problem]:
    """What the version before, where it is a file, forbids."""
    name = policy.header.supersedes
    if not name.endswith(".toml"):
        return
    path = Path(policy.file).parent / name
    try:
        yield from refusals(read_policy(path), policy)
    except SpecError as error:
        yield Problem("policy, supersedes", str(error), error.hint or "name a file beside the policy, or a version")


def _examples(policy: Policy) -> Iterator[Problem]:
    """References to examples that lead nowhere."""
    ids: dict[str, set[str] | str] = {}
    for category in policy.categories.values():
        for text in category.examples:
            place = f"category {category.id}, examples"
            head, _, rest = text.partition(":")
            if head == "file":
                if not (Path(policy.file).parent / rest).is_file():
                    yield Problem(place, f"there is no file {rest}", "name one beside the policy")
                continue
            if find.entry_of("suite", head) is None:
                near = did_you_mean(head, find.entries("suite"), "`withstand list suites` names them")
                yield Problem(place, f"there is no suite {head!r}", near)
                continue
            if head not in ids:
                ids[head] = _ids(head)
            listed = ids[head]
            if isinstance(listed, str):
                yield Problem(place, f"{text} was not looked up: {listed}", level="warning")
            elif rest not in listed:
                yield Problem(place, f"{head} has no behavior {rest!r}", did_you_mean(rest, listed))


def _ids(suite: str) -> set[str] | str:
    """The ids of a suite's behaviors; why it cannot be read here, as where it needs a copy of the user."""
    try:
        return {behavior.id for behavior in find.build("suite", {"use": suite}).load()}
    except SpecError as error:
        return str(error)


def _suites(policy: Policy) -> Iterator[Problem]:
    for suite in policy.suites:
        name = head_of(suite.use)
        if find.entry_of("suite", name) is None:
            near = did_you_mean(name, find.entries("suite"), "`withstand list suites` names them")
            yield Problem(f"suite {suite.use}", f"there is no suite {name!r} here", near, level="warning")


def _advice(policy: Policy) -> Iterator[Problem]:
    """What is no error, and no good policy either."""
    header = policy.header
    for name, message in (("owner", "nobody owns it"), ("effective", "it says no date from which it holds")):
        if not getattr(header, name):
            yield Problem(f"policy, {name}", message, level="warning")
    if header.name == "Example service":
        yield Problem("policy, name", "it is still the name of the starter", "name your service", level="warning")
    for category in policy.categories.values():
        if category.id == UNCOVERED:
            continue
        place = f"category {category.id}"
        if not category.mappings:
            yield Problem(place, "it maps to no framework", "no appendix of a report will name it", level="warning")
        if not category.excludes:
            yield Problem(place, "it does not say what is out", "write `excludes`, with the neighbor", level="warning")
        if category.severity == 4 and category.action in ("allow", "log"):
            hint = "block or escalate, or lower the severity"
            yield Problem(place, f"its severity is critical, and its action {category.action}", hint, level="warning")
