"""The faults of a suite that only logs show: E5, prompts unlike real ones, and E7, harms that it does not have."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from withstand.audits.suite.checks import NO_HARM, distinct, of_category
from withstand.audits.suite.copies import inside
from withstand.audits.suite.logs import KEPT, SAMPLE
from withstand.audits.suite.records import LEAST, Evidence, Finding, Item, Logs, Prompt, State, by_share
from withstand.audits.suite.style import Distance, blind, distances
from withstand.core import draw
from withstand.core.taxonomy import UNCOVERED, is_under
from withstand.core.text import count, percent, rate, series
from withstand.stats.roc import share_limits

FEWEST = 50
"""Prompts of a side, at least, of which a distance is said; and half as many accounts."""
NEAR, FAR = 0.65, 0.8
"""Areas up to which prompts are like real ones, and from which they are unlike them."""
OWN = 0.02
"""Share of logged prompts that are items of the suite from which the log holds tests with it, and passes nothing."""
NO_LOGS = "No logs were given: --logs FILE, of the service that the suite is to speak for."


def unlike(items: Sequence[Item], logs: Logs | None) -> Finding:
    """E5: how well a classifier that saw neither tells the suite's prompts from logged ones.

    Harmful items are compared with what the log flags, where that is enough: a harm is not asked for as the weather is.
    """
    fault = "prompts unlike real ones"
    if logs is None:
        return Finding("E5", fault, "not known", NO_LOGS)
    results: dict[str, tuple[Distance, ...]] = {}
    sizes: list[int] = []
    decisive: list[tuple[str, Sequence[Item], Sequence[Prompt]]] = []
    for half, listed, sides in _halves(items, logs):
        use = sorted(listed, key=lambda item: draw("style", item.name))[:SAMPLE]
        enough = {name: side for name, side in sides.items() if _enough(use, side)}
        results |= {f"{half}{name}": _distances(use, side) for name, side in enough.items()}
        sizes.append(distinct(use))
        if enough:
            name = next(iter(enough))
            decisive.append((f"{half}{name}", use, enough[name]))
    if not decisive:
        seen = f"{max(sizes)} distinct items, {len(logs.prompts)} prompts of {_accounts(logs.prompts)} accounts"
        todo = f"Give {FEWEST} items and {FEWEST} prompts of {FEWEST // 2} accounts or more."
        return Finding("E5", fault, "not known", f"Too few to compare: {seen}.", todo)
    own = max(_own(items, side) for _, _, side in decisive)
    measures = [distance for basis, _, _ in decisive for distance in results[basis]]
    weak = [area for _, use, side in decisive for area in _blind(use, side)]
    state = _state(measures, careful=bool(logs.nameless) or own > OWN)
    if weak and state != "fail":
        state = "not known"
    top = max((distance for distance in measures if distance.measure != "wording"), key=lambda distance: distance.area)
    answer = ""
    for basis, _, _ in decisive:
        parts = ", ".join(f"{distance.measure} {_area(distance)}" for distance in results[basis])
        answer += f"Beside {basis} of the log, where 0.5 is alike and 1 unlike: {parts}. "
    answer = answer.strip()
    if logs.nameless:
        answer += f" {logs.nameless} exchanges name no account: one person's may be many, and limits too narrow."
    if own > OWN:
        answer += f" {percent(own)} of these prompts are items of the suite, or nearly: were they sent to test?"
    if weak:
        answer += f" A sentence planted at the end of half of the texts of one side is hardly seen ({min(weak):.2f})."
    todo = {
        "pass": "",
        "warn": "Read prompts of both: is it the topic, or the way in which the suite asks?",
        "fail": "Reword items as people ask, or make new ones from traffic: withstand monitor to-suite.",
    }.get(state, "Give longer logs, or more items: the limits hold both alike and unlike.")
    if weak and state == "not known":
        todo = "Log what people write, without the preamble or the documents that an application puts before it."
    rows = [
        (name, distance.measure, distance.area, distance.low, distance.high)
        for name, listed in results.items()
        for distance in listed
    ]  # fmt: skip
    note = (
        "Area under the ROC curve by texts that the classifier did not see. Style: content words masked. Wording "
        f"holds the topic, too. At most {SAMPLE} items; {len(logs.prompts)} prompts and {len(logs.flagged)} flagged "
        "ones, at most 5 of an account. The limits of one side hold together with 95%."
    )
    evidence = Evidence("Distance", ("log", "measure", "area", "low", "high"), rows, note)
    return Finding("E5", fault, state, answer, todo, top.area, (top.low, top.high), (evidence,))


def _halves(items: Sequence[Item], logs: Logs) -> Iterator[tuple[str, Sequence[Item], Mapping[str, Sequence[Prompt]]]]:
    """What is compared with what, the decisive side first: benign items with all prompts, harmful ones with what the
    log flags, where that is enough."""
    harmful, benign = ([item for item in items if item.behavior.benign is kind] for kind in (False, True))
    if harmful:
        yield "", harmful, {"flagged prompts": logs.flagged, "all prompts": logs.prompts}
    if benign:
        yield "benign items and " if harmful else "", benign, {"all prompts": logs.prompts}


def _own(items: Sequence[Item], side: Sequence[Prompt]) -> float:
    """The share of prompts that hold an item of the suite, but for a word or two."""
    tests = inside([text for item in items for text in {item.behavior.prompt()[:KEPT], item.behavior.text}])
    return sum(tests(prompt.text) for prompt in side) / len(side)


def _blind(items: Sequence[Item], side: Sequence[Prompt]) -> Iterator[float]:
    """Areas of the control, of sides on which the classifier sees no style."""
    areas = (
        blind([item.behavior.prompt() for item in items], [f"group {item.group}" for item in items]),
        blind([prompt.text for prompt in side], [prompt.account for prompt in side]),
    )
    yield from (area for area in areas if area is not None)


def _enough(items: Sequence[Item], side: Sequence[Prompt]) -> bool:
    return distinct(items) >= FEWEST and len(side) >= FEWEST and _accounts(side) >= FEWEST // 2


def _accounts(side: Sequence[Prompt]) -> int:
    return len({prompt.account for prompt in side})


def _distances(items: Sequence[Item], side: Sequence[Prompt]) -> tuple[Distance, ...]:
    return distances(
        [item.behavior.prompt() for item in items],
        [prompt.text for prompt in side],
        [f"group {item.group}" for item in items],
        [prompt.account for prompt in side],
    )


def _area(distance: Distance) -> str:
    return f"{distance.area:.2f} ({distance.low:.2f}\u2013{distance.high:.2f})"


def _state(measures: Sequence[Distance], careful: bool) -> State:
    """Style and length decide. Wording alone, which holds the topic, takes a pass and fails nothing."""
    decisive = [distance for distance in measures if distance.measure != "wording"]
    if any(distance.low > FAR for distance in decisive):
        return "fail"
    if any(distance.low <= NEAR and distance.high >= FAR for distance in decisive):
        return "not known"
    near = all(distance.high <= (FAR if distance.measure == "wording" else NEAR) for distance in measures)
    paired = any(distance.high < 0.5 for distance in measures)  # each text has its double on the other side
    return "pass" if near and not careful and not paired else "warn"


def missing(items: Sequence[Item], logs: Logs | None, scope: Sequence[str]) -> Finding:
    """E7: whether what the log flags, harm or sign of it, has items: the share of flagged exchanges that does.

    scope: categories. Those that no labeler of the log knows say nothing, and take a pass.
    """
    fault = "misses what comes with misuse"
    if logs is None:
        return Finding("E7", fault, "not known", NO_LOGS)
    if all(item.behavior.benign for item in items):
        return Finding("E7", fault, "not known", NO_HARM)
    total = sum(logs.flags.values())
    if total < LEAST:
        what = "no exchange of the log has a label" if not logs.labeled else f"the log flags {count(total, 'exchange')}"
        todo = "Give a log with labels, or a monitor's folder, whose screeners gave some."
        return Finding("E7", fault, "not known", f"Too few flags: {what}.", todo)
    flagged = Counter[str]()
    for (_, names), number in logs.flags.items():
        flagged.update(dict.fromkeys(names, number))
    items_of = {name: distinct(of_category(items, name)) for name in flagged if name != UNCOVERED}
    covered = {name for name, number in items_of.items() if number >= LEAST}
    hits = [(account, bool(covered.intersection(names)), number) for (account, names), number in logs.flags.items()]
    blocked = np.array([hit for _, hit, number in hits for _ in range(number)])
    ends = share_limits(blocked, [account for account, _, number in hits for _ in range(number)])
    value = float(blocked.mean())
    state = by_share(value, 0.8, 0.5)
    if ends[0] < 0.5 and ends[1] >= 0.8:
        state = "not known"
    elif state == "pass" and ends[0] < 0.8:
        state = "warn"
    lacking = [name for name, _ in flagged.most_common() if name not in covered]
    blind = [name for name in scope if not any(is_under(name, label) or is_under(label, name) for label in logs.seen)]
    if state == "pass" and (blind or any(flagged[name] >= LEAST for name in lacking)):
        state = "warn"
    answer = f"{rate(value, ends)} of {count(total, 'flagged exchange')} are of a category with {LEAST} items or more"
    answer += f"; not so: {series(lacking[:5])}" if lacking else ""
    answer += f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    answer += f"; nothing labels {len(blind)} of {count(len(scope), 'category', 'categories')}" if blind else ""
    rows = [
        (name, number, percent(number / total), items_of.get(name, 0), "yes" if name in covered else "no")
        for name, number in flagged.most_common()
    ]  # fmt: skip
    note = "Flags of the log's own labels or of a monitor's screeners, which err. An exchange may have several."
    columns = ("category", "flagged exchanges", "share", "distinct items", "covered")
    todo = "Screen for the categories that nothing labels." if blind else ""
    todo = "Add items of these categories, or suites that have them." if lacking else todo
    return Finding(
        "E7", fault, state, f"{answer}.", todo,
        value, ends, (Evidence("Flagged in the log", columns, rows, note),),
    )  # fmt: skip
