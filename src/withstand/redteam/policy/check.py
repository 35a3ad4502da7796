"""What `withstand policy check` says of a policy: errors, and what its owner should look at again."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

from withstand.core import Behavior, SpecError, did_you_mean
from withstand.core.taxonomy import UNCOVERED
from withstand.core.text import head_of
from withstand.redteam.policy.diff import refusals
from withstand.redteam.policy.records import SCHEMA, Policy, policy_of, read_policy
from withstand.redteam.tables import Problem, Problems, read_tables
from withstand.registry import find


def check(path: str | Path) -> tuple[Policy | None, tuple[Problem, ...]]:
    """The policy, None where it has errors, and all problems of it: errors first.

    Raises `SpecError` where the file is no policy at all: it is not there, no TOML, or says no schema.
    """
    problems = Problems(str(path))
    policy = policy_of(problems, read_tables(path, SCHEMA))
    behaviors = cache(_behaviors)  # a policy names one suite many times
    before = () if problems.listed else _superseded(policy)  # what has errors would look as if it were gone
    listed = [*problems.listed, *before, *_examples(policy, behaviors), *_suites(policy, behaviors)]
    listed += _advice(policy)
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


Behaviors: TypeAlias = Callable[[str], tuple[Behavior, ...] | str]
"""Name of a suite -> its behaviors, or why it cannot be read here, as where it needs a copy of the user."""


def _examples(policy: Policy, behaviors_of: Behaviors) -> Iterator[Problem]:
    """References to examples that lead nowhere."""
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
            behaviors = behaviors_of(head)
            if isinstance(behaviors, str):
                yield Problem(place, f"{text} was not looked up: {behaviors}", level="warning")
            elif rest not in (ids := {behavior.id for behavior in behaviors}):
                yield Problem(place, f"{head} has no behavior {rest!r}", did_you_mean(rest, ids))


def _behaviors(suite: str) -> tuple[Behavior, ...] | str:
    try:
        return tuple(find.build("suite", {"use": suite}).load())
    except SpecError as error:
        return str(error)


def _suites(policy: Policy, behaviors_of: Behaviors) -> Iterator[Problem]:
    """Maps of suites that are not here, and of categories that a suite does not have."""
    for suite in policy.suites:
        name, place = head_of(suite.use), f"suite {suite.use}"
        if find.entry_of("suite", name) is None:
            near = did_you_mean(name, find.entries("suite"), "`withstand list suites` names them")
            yield Problem(place, f"there is no suite {name!r} here", near, level="warning")
            continue
        behaviors = behaviors_of(name) if name == suite.use else ""
        own = {"*", *(behavior.category for behavior in behaviors if isinstance(behavior, Behavior))}
        for category in suite.categories if not isinstance(behaviors, str) else ():
            if category not in own:
                near = did_you_mean(category, own, f"they are {', '.join(sorted(own))}")
                yield Problem(f"{place}, categories", f"the suite has no category {category!r}", near)


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
