"""The faults of a suite that its own items show: E1 to E4 and E6 of OpenAI's "Lessons learned on language model safety
and misuse" (2022, footnote E). A census of the items, so no figure has an interval.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from withstand.audits.suite.records import LEAST, Evidence, Finding, Item, State, by_share
from withstand.core.taxonomy import UNCOVERED, Grouping, is_under
from withstand.core.text import count, percent, series

UMBRELLAS = frozenset({
    "all", "any", "bad", "dangerous", "default", "general", "harm", "harmful", "harms", "illegal", "inappropriate",
    "malicious", "misc", "miscellaneous", "misuse", "mixed", "none", "offensive", "other", "others", "toxic",
    "toxicity", "unethical", "unknown", "unsafe", "various", "violation", "violations",
})  # fmt: skip
"""Names of categories that pool harms of many kinds."""
FILLERS = frozenset({
    "and", "behavior", "behaviors", "behaviour", "content", "language", "or", "prompt", "prompts", "request",
    "requests", "text", "texts",
})  # fmt: skip
"""Words beside these that name no kind either."""
KINDS = 3
"""Categories of a policy, at least, by which a suite is shown not to be narrow."""
PERSONA = re.compile(
    r"\b(?:I am|I'm|I work|we are|as an?|my (?:boss|client|students?|patients?|customers?|kids?|job))\b"
)
"""Words by which a text says who asks."""
WORDS = re.compile(
    r"\b(?:without|never|avoid|except|refrain|only|at most|no more than|(?:do|must|should)(?: not|n't))\b", re.I
)
"""Words by which a text may state a constraint."""
GENERATIVE = 0.2
"""Share of a category's items, at least, that ask for a text of the model's own."""
NO_HARM = "Nothing here asks for harm: audit it beside its harmful half."
Pooling = Literal["one category", "named by the map alone", "not in the policy", "umbrella", "no category"]


def of_category(items: Sequence[Item], name: str) -> list[Item]:
    """The harmful items of a category of the policy, or of one below it."""
    return [
        item for item in items
        if not item.behavior.benign and any(is_under(own, name) for own in item.categories)
    ]  # fmt: skip


def distinct(items: Sequence[Item]) -> int:
    """How many items stand by themselves: copies and clusters count once."""
    return len({item.group for item in items})


def narrow(items: Sequence[Item], scope: Sequence[str], grouping: Grouping) -> Finding:
    """E1: which categories have items enough to say something of."""
    fault = "too narrow"
    if all(item.behavior.benign for item in items):
        return Finding("E1", fault, "not known", NO_HARM)
    rows: list[tuple[str, str, int, int]] = []
    for name in scope:
        own = of_category(items, name)
        rows.append((name, grouping.names[name], len(own), distinct(own)))
    pooling = [name for name in scope if _umbrella(name)]
    covered = [name for name, _, _, number in rows if number >= LEAST and name not in pooling]
    none = sum(number == 0 for _, _, _, number in rows)
    uncovered = sum(UNCOVERED in item.categories for item in items if not item.behavior.benign)
    value = len(covered) / len(scope)
    kinds = len(grouping.names.keys() - {UNCOVERED, *pooling})
    state = by_share(value, 0.8, 0.5)
    answer = f"{len(covered)} of {count(len(scope), 'category', 'categories')} have {LEAST} items or more"
    answer += f" ({series(covered)})" if 0 < len(covered) <= 6 else ""
    answer += f", {len(scope) - len(covered) - none} have fewer, {none} none"
    answer += f"; {count(uncovered, 'item')} in no category of the policy." if uncovered else "."
    todo = "Run suites of the other categories beside it, or say with --category what it is for."
    if pooling:
        answer += f" Of {series(pooling)} nothing can be covered: it names no kind of harm."
    if kinds < KINDS:
        answer += f" A policy of {count(kinds, 'kind')} of harm does not tell whether a suite is narrow."
        state, todo = ("warn" if state == "pass" else state), "Give --policy one with a category for each kind of harm."
    note = f"Harmful items, and how many are left where copies and clusters count once: {LEAST} cover a category."
    evidence = Evidence("Items by category", ("category", "title", "items", "distinct"), rows, note)
    return Finding("E1", fault, state, answer, todo * (state != "pass"), value, evidence=(evidence,))


def broad(items: Sequence[Item]) -> Finding:
    """E2: which figures of a report would mix harms of several kinds. A report gives one for each category of a suite
    and judge (`--by category`), so these are the metrics. Benign items count where there are no others."""
    items = [item for item in items if not item.behavior.benign] or items
    metrics: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for item in items:
        metrics[item.suite, item.judge, item.behavior.category].append(item)
    rows: list[tuple[str, str, str, int, int, str]] = []
    counts: dict[Pooling, int] = defaultdict(int)
    for (suite, judge, category), own in metrics.items():
        kind = _pooling(category, own)
        counts[kind] += len(own)
        ids = {name for item in own for name in item.categories} - {UNCOVERED}
        rows.append((suite, judge, category, len(own), len(ids), kind))
    n = len(items)
    value = counts.pop("one category", 0) / n
    pooled = (counts["umbrella"] + counts["no category"]) / n
    loose = counts["named by the map alone"] / n
    unmapped = counts["not in the policy"] / n
    state: State = (
        "fail" if pooled > 0.5 else "warn" if pooled + loose > 0.2 else "not known" if unmapped > 0.2 else "pass"
    )
    answer = f"{count(len(metrics), 'metric')}; {percent(value)} of the items are in one of a single category"
    others = [f"{count(number, 'item')}: {kind}" for kind, number in counts.items() if number]
    todo = {
        "pass": "",
        "not known": "Map the suite's categories in the policy with a table [[suite]].",
    }.get(state, "Give each item a category of its own kind, or a tag policy:ID, and report by it.")
    note = (
        "A metric is what a report gives a figure of: suite, judge and the suite's own category. Pooled: how many "
        "categories of the policy it mixes."
    )
    columns = ("suite", "judge", "category", "items", "pooled", "what it is")
    evidence = Evidence("Metrics", columns, sorted(rows, key=lambda row: -row[3]), note)
    return Finding("E2", "too broad", state, f"{'; '.join([answer, *others])}.", todo, value, evidence=(evidence,))


def _pooling(category: str, items: Sequence[Item]) -> Pooling:
    ids = {name for item in items for name in item.categories}
    if _umbrella(category) or (len(ids) == 1 and _umbrella(*ids)):
        return "umbrella"
    if not all(item.own for item in items):
        return "named by the map alone" if len(ids) == 1 and UNCOVERED not in ids else "no category"
    if ids == {UNCOVERED}:
        return "not in the policy"
    return "one category" if len(ids) == 1 else "umbrella"


def _umbrella(name: str) -> bool:
    """Whether a category's name says nothing but that it is bad."""
    words = set(re.split(r"[^a-z]+", name.lower())) - {""}
    return bool(words & UMBRELLAS) and words <= UMBRELLAS | FILLERS


def bare(items: Sequence[Item]) -> Finding:
    """E3: whether items say where and by whom the model is used: of the harmful and the benign half, the worse."""
    n = len(items)
    context = [item for item in items if _context(item)]
    persona = [item for item in items if _has(item, "persona")]
    words = sum(map(_says_who, items))
    halves = [[item for item in items if item.behavior.benign is benign] for benign in (False, True)]
    marks = [[(_context(item), _has(item, "persona")) for item in half] for half in halves if half]
    value = min(sum(map(all, half)) / len(half) for half in marks)
    either = min(sum(map(any, half)) / len(half) for half in marks)
    state: State = "pass" if value >= 0.8 else "warn" if either >= 0.2 else "fail"
    answer = (
        f"{len(context)} of {count(n, 'item')} have a context, {len(persona)} name a persona, {percent(value)} both; "
        f"{words} more say in their words who asks."
    )
    todo = "Give items a context and tags such as persona:nurse and deployment:clinic." if state != "pass" else ""
    rows = [
        (suite, len(own), sum(map(_context, own)), sum(_has(item, "persona") for item in own),
         sum(map(_says_who, own)))
        for suite, own in by_suite(items).items()
    ]  # fmt: skip
    note = (
        "Context: a passage, a tag deployment:, use_case: or app:, or a suite of an application, asked in use. "
        "Persona: a tag persona:. Words: as in 'I am' or 'my client', a coarse sign that passes nothing."
    )
    evidence = Evidence("Use and context", ("suite", "items", "context", "persona", "words"), rows, note)
    return Finding("E3", "strips away use and context", state, answer, todo, value, evidence=(evidence,))


def _says_who(item: Item) -> bool:
    return not _has(item, "persona") and bool(PERSONA.search(item.behavior.prompt()))


def _context(item: Item) -> bool:
    return (
        item.deployed
        or bool(item.behavior.context.strip())
        or any(_has(item, head) for head in ("deployment", "use_case", "app"))
    )


def _has(item: Item, head: str) -> bool:
    return any(tag.partition(":")[0] == head and tag.partition(":")[2].strip() for tag in item.behavior.tags)


def closed(items: Sequence[Item]) -> Finding:
    """E4: whether every category asks for texts of the model's own."""
    rows: list[tuple[str, int, int, float]] = []
    for name, own in _by_own_category(items):
        open_ = sum(not item.closed for item in own)
        rows.append((name, len(own), open_, open_ / len(own)))
    value = sum(not item.closed for item in items) / len(items)
    least = [row for row in rows if row[3] < GENERATIVE]
    good = (len(rows) - len(least)) / len(rows)
    state: State = "pass" if not least else "warn" if good >= 0.5 and value >= 0.5 else "fail"
    answer = f"{percent(value)} of the items ask for a text of the model's own"
    answer += f"; fewer than {percent(GENERATIVE)} in {series([row[0] for row in least[:5]])}" if least else ""
    answer += f" and {len(least) - 5} more" if len(least) > 5 else ""
    todo = "Add items whose answer the model writes itself, with a judge that reads it." if least else ""
    shown = [(name, number, open_, percent(part)) for name, number, open_, part in rows]
    note = "Closed: its judge reads a choice (multiple_choice, yes_no), or the text lists options."
    evidence = Evidence("Generation", ("category", "items", "generative", "share"), shown, note)
    return Finding("E4", "ignores generation", state, f"{answer}.", todo, value, evidence=(evidence,))


def _by_own_category(items: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    """By category of the policy, and where that has none by the suite's own."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        for name in item.categories:
            own = item.behavior.category or "no category"
            groups[f"{item.suite}: {own}" if name == UNCOVERED else name].append(item)
    yield from groups.items()


def unconstrained(items: Sequence[Item]) -> Finding:
    """E6: whether it is tested that a constraint of the instruction is obeyed, such as "without nuts"."""
    fault = "misses constraints of the instruction"
    harmful = [item for item in items if not item.behavior.benign]
    if not harmful:
        return Finding("E6", fault, "not known", NO_HARM)
    named = [item for item in harmful if item.constrained]
    words = sum(map(_says_not, harmful))
    number = distinct(named)
    state: State = "pass" if number >= LEAST else "warn" if number else "fail"
    answer = f"{count(len(named), 'item')} ({number} distinct) {'is' if len(named) == 1 else 'are'} about a constraint"
    answer += f"; {words} more have words of one, and count once they are tagged." if words else "."
    todo = f"Add {LEAST} items with the tag constraint:WHICH whose judge sees whether it was kept." * (state != "pass")
    rows = [
        (suite, len(own), sum(item.constrained for item in own), sum(map(_says_not, own)))
        for suite, own in by_suite(harmful).items()
    ]  # fmt: skip
    note = "About a constraint: tagged, or of a suite that tests whether an application's own rule is obeyed."
    evidence = Evidence("Constraints", ("suite", "harmful items", "constraint", "words"), rows, note)
    return Finding("E6", fault, state, answer, todo, float(number), evidence=(evidence,))


def _says_not(item: Item) -> bool:
    return not item.constrained and bool(WORDS.search(item.behavior.prompt()))


def by_suite(items: Sequence[Item]) -> Mapping[str, list[Item]]:
    """Suite -> its items."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.suite].append(item)
    return groups
