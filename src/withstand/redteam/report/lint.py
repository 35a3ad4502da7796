"""The linter of reports: what a report of a red team must say, and what it must not. Every problem is an error.

It reads Markdown, HTML and JSON, whoever wrote or edited them. Words that read as a rate: `lint_words.py`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from withstand.core.likeness import squeezed, tokens
from withstand.redteam.report.lint_words import rates
from withstand.redteam.report.passages import FACTS, Passage, passages
from withstand.redteam.tables import Problem
from withstand.store.attempts import Attempt

FINDING = re.compile(r"\bF-\d{8}-[0-9a-f]{6,}\b")
SEVERE = re.compile(
    r"\bseverity(?:\s+(?:of|is|was|level))?\s*[:=]?\s*(?:3|4|three|four|high|critical)\b|"
    r"\b(?:high|critical)[- ]severity\b",
    re.IGNORECASE,
)
RATERS = re.compile(
    r"\b(?:two|three|four|both|several|[2-9]) (?:raters|people|reviewers|experts)\b|\ba second rater\b|"
    r"\brat(?:ed|ers?)\b[^.]*?\b[\w-]+(?:,| and) [\w-]+",
    re.IGNORECASE,
)
THINGS = r"(?:findings|harms|issues|problems|vulnerabilities|weaknesses|failures)"
SEEN = r"(?:found|seen|made|surfaced|reported|identified|discovered|detected)"
NO_FINDINGS = re.compile(
    rf"\bno (?:[\w-]+ )?(?:{THINGS}|finding|harm|issue|problem|vulnerability|weakness|failure) "
    rf"(?:(?:was|were|has been|have been) {SEEN}|remain(?:s|ed)?\b|(?:in|at|for|on|from|under|with) )|"
    rf"\bno (?:[\w-]+ )?{THINGS}\s*(?:[.!;]|$)|"
    r"\b(?:found|saw|identified|discovered|surfaced) (?:no|nothing|zero|not a single)\b|"
    rf"\bnothing (?:harmful |bad |unsafe )?(?:was|has been) {SEEN}\b|"
    r"\bdid not (?:find|see|surface|identify) any(?:thing)?\b|\bclean bill\b|\bzero findings\b",
    re.IGNORECASE,
)
COVERAGE = re.compile(r"\b(?:attempts?|cells?|covered|coverage|inputs?|testers?|hours?|minutes?)\b", re.IGNORECASE)
REPLAY = re.compile(r"\breplay(?:ed|s)?\b|\bsent again\b|\bstill happens?\b|\bno longer happens?\b", re.IGNORECASE)
FIGURE = re.compile(r"\b\d+ of \d+|\d\s?%|\bp\s?[=<]\s?\.?\d|\b\d+ (?:still|findings?)\b")
CAVEAT = re.compile(r"regression to the mean|selected because they|overstates?", re.IGNORECASE)
MOST_SEVERE = ("3", "4", "high", "critical")
LONGEST_SHARED = 6
"""Words in a row of a restricted text that stand in no report by chance."""
OPENING = 12
"""Passages at the beginning, a page's navigation included, among which a content warning without a heading stands."""
SHORTEST = 12
"""Letters and digits of a shorter text that is looked for."""


def lint(text: str, suffix: str, restricted: Iterable[Attempt] = ()) -> list[Problem]:
    """The problems of a report. suffix: "md", "html" or "json".   restricted: attempts whose texts it must not hold."""
    read = passages(text, suffix)
    return [*_rates(read), *_blocks(read), *_must_say(read), *_severities(read), *_no_findings(read), *_replays(read),
            *_restricted(read, restricted)]  # fmt: skip


def _problem(passage: Passage, rule: str, message: str, hint: str) -> Problem:
    place = f"{passage.place}, section {passage.section}" if passage.section else passage.place
    return Problem(place, message, hint, "error", rule)


def _rates(read: Sequence[Passage]) -> Iterator[Problem]:
    for passage in read:
        if passage.block.kind in ("manual", "restricted") and (words := rates(passage.text)):
            quoted = " and ".join(map(repr, dict.fromkeys(words)))
            message = f"{quoted} {'reads' if len(words) == 1 else 'read'} as a rate, and manual rounds measure none"
            hint = "say what happened in which finding, or put a measurement into a block `measured`"
            yield _problem(passage, "rate", message, hint)


def _blocks(read: Sequence[Passage]) -> Iterator[Problem]:
    """Blocks that lack what they must name; a restricted one must be redacted."""
    for block, group in groupby((passage for passage in read if passage.block.number), lambda passage: passage.block):
        own = list(group)
        if block.kind == "measured":
            wrong = [name for name in FACTS if not _is_fact(name, block.facts.get(name, ""))]
            if wrong:
                message = f"a measured block does not name its {' and '.join(wrong)}"
                yield _problem(own[0], "measured", message, "name suite, n (how many behaviors) and the interval")
        elif block.kind == "replay" and not any(CAVEAT.search(passage.text) for passage in own):
            hint = "say that these findings were selected because they failed: regression to the mean"
            yield _problem(own[0], "caveat", "figures of a replay without the caveat of selection", hint)
        elif block.kind == "restricted":
            for passage in own:
                if not re.search(r"\[redacted\b", passage.text):
                    yield _problem(
                        passage, "restricted", "a restricted text is not redacted", "write [redacted] for it"
                    )


def _is_fact(name: str, value: str) -> bool:
    if name == "n":
        return value.replace(",", "").isdecimal() and int(value.replace(",", "")) > 0
    return len(re.findall(r"\d+(?:\.\d+)?", value)) >= 2 if name == "interval" else bool(value.strip())


def _must_say(read: Sequence[Passage]) -> Iterator[Problem]:
    warned = [p for p in read if p.heading and re.search(r"\bcontent warning\b", p.text, re.IGNORECASE)]
    warned += [p for p in read[:OPENING] if not p.heading and re.search(r"\bwarning\b", p.text, re.IGNORECASE)]
    is_there = any(
        not p.heading for p in read if warned and (p.section, p.number) == (warned[0].section, warned[0].number)
    )
    if not is_there:
        hint = "open with a section: Content warning"
        yield Problem("the beginning", "there is no content warning", hint, "error", "warning")
    about = [passage for passage in read if "endpoint" in f"{passage.section} {passage.text}".lower()]
    if not any(re.search(r"\bproduction\b", passage.text, re.IGNORECASE) for passage in about if not passage.heading):
        hint = "say which endpoints were tested, and whether they are those of production (T5)"
        yield Problem("the report", "it does not say which endpoints were tested", hint, "error", "endpoints")


def _severities(read: Sequence[Passage]) -> Iterator[Problem]:
    for passage in read:
        cells = {name.lower(): value for name, value in passage.cells.items()}
        own = next((value.lower() for name, value in cells.items() if name.startswith("severity")), "")
        is_finding = FINDING.search(passage.text) is not None
        severe = re.split(r"\W", own)[0] in MOST_SEVERE if cells else SEVERE.search(passage.text) is not None
        if not severe or not (is_finding or passage.number == 3):
            continue
        raters = next((value for name, value in cells.items() if "raters" in name or "rated by" in name), "")
        two = len(re.findall(r"[\w-]+", raters)) >= 2 or (raters.isdecimal() and int(raters) >= 2)
        if not two and not RATERS.search(passage.text):
            hint = "a severity of 3 or 4 needs two raters: have a second one rate it, or leave the severity open"
            yield _problem(passage, "raters", "a severity of 3 or 4 without two raters", hint)


def _no_findings(read: Sequence[Passage]) -> Iterator[Problem]:
    for passage in read:
        match = NO_FINDINGS.search(passage.text)
        if match and not (COVERAGE.search(passage.text) and re.search(r"\d", passage.text)):
            message = f"{match[0].strip()!r} without coverage: nothing tested and nothing there read alike"
            yield _problem(passage, "coverage", message, "say how many attempts, by whom, on which cells")


def _replays(read: Sequence[Passage]) -> Iterator[Problem]:
    """Figures of a replay outside of a block, in a section without the caveat."""
    with_caveat = {passage.section for passage in read if CAVEAT.search(passage.text)}
    for passage in read:
        loose = passage.block.kind == "manual" and passage.section not in with_caveat
        if loose and REPLAY.search(passage.text) and FIGURE.search(passage.text):
            hint = "say that these findings were selected because they failed: regression to the mean"
            yield _problem(passage, "caveat", "figures of a replay without the caveat of selection", hint)


def _restricted(read: Sequence[Passage], attempts: Iterable[Attempt]) -> Iterator[Problem]:
    """Passages that hold words of restricted attempts."""
    hidden = RestrictedWords(attempts)
    for passage in read:
        if owner := hidden.owner(passage.text):
            yield _problem(passage, "restricted", f"it holds words of {owner}, which is restricted", "redact them")


class RestrictedWords:
    """The words of restricted attempts: runs of `LONGEST_SHARED` words, and whole texts that are shorter."""

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self.runs: dict[tuple[str, ...], str] = {}
        self.short: dict[str, str] = {}
        for attempt in attempts:
            for text in (*(turn.text for turn in attempt.turns), attempt.output, attempt.output_description):
                words = tokens(text)
                self.runs |= dict.fromkeys(_windows(words), attempt.id)
                if 2 <= len(words) < LONGEST_SHARED and len(squeezed(text)) >= SHORTEST:
                    self.short[squeezed(text)] = attempt.id

    def owner(self, text: str) -> str:
        """The attempt whose words a text holds, "" for none."""
        owner = next((self.runs[run] for run in _windows(tokens(text)) if run in self.runs), "") if self.runs else ""
        whole = squeezed(text) if self.short and not owner else ""
        return owner or next((attempt_id for short, attempt_id in self.short.items() if short in whole), "")


def _windows(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[at : at + LONGEST_SHARED]) for at in range(len(words) - LONGEST_SHARED + 1))
