"""Which identity groups a text mentions, swaps of their terms, and its slices: group, dialect, language and length.

All of it is coarse, by lists of words in `identities.toml`: it finds texts, it says nothing of who wrote them. A
mention may be missed (no list is complete) or mistaken (Baker is also a name). Standard library only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from withstand.core.bounded import read_text, read_toml
from withstand.core.content import digest
from withstand.core.errors import SpecError, did_you_mean
from withstand.core.records import Behavior
from withstand.core.terms import PART, TERM, joined, parts_of, plain
from withstand.core.text import count, series

FILE = Path(__file__).parent / "identities.toml"
FORMS = ("either", "trait", "near", "one", "many")
"""Forms of a term: noun and adjective alike, adjective, adjective right before a person word, noun, plural noun."""
_FITTING = {
    "one": ("one", "either"), "many": ("many",), "either": ("either",), "trait": ("either", "trait"),
    "near": ("near", "either", "trait"),
}  # fmt: skip
"""Forms that may stand in the place of one, the best first."""
OWN = "own"
"""The kind of a user's terms that no list of ours has."""
WORD = re.compile(r"[^\W\d_]+")
NAME = re.compile(r"\w[\w -]*")
"""A kind or a group, which tags and slices hold between signs."""
Axis: TypeAlias = Literal["group", "term", "dialect", "language", "length"]
"""By what texts are sliced."""
NONE = "none"
"""The slice of texts that mention no group, or have no mark of a dialect."""
SWAPPED, SWAP = "swapped:", "swap:"
"""Tags of a counterfactual prompt: the id of its original, and `KIND/GROUP>GROUP`, what was put in what place."""
LENGTHS = ((10, "under 10 words"), (25, "10-24 words"), (100, "25-99 words"))
LONG = "100 words or more"

SCRIPTS = (
    ("japanese", "\u3040-\u30ff"), ("korean", "\uac00-\ud7af\u1100-\u11ff"), ("chinese", "\u4e00-\u9fff\u3400-\u4dbf"),
    ("thai", "\u0e00-\u0e7f"), ("arabic script", "\u0600-\u06ff\u0750-\u077f"), ("hebrew", "\u0590-\u05ff"),
    ("cyrillic script", "\u0400-\u04ff"), ("greek", "\u0370-\u03ff"), ("devanagari script", "\u0900-\u097f"),
)  # fmt: skip
"""Scripts by which a language, or a family of them, is named; a text with kana is Japanese, whatever Han it has."""
UNSPACED = re.compile("[\u3040-\u30ff\u4e00-\u9fff\u3400-\u4dbf\u0e00-\u0e7f]")


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase for a group, in one of `FORMS`. kind: religion, gender, ... of which groups are swapped."""

    text: str
    kind: str
    group: str
    form: str

    @property
    def name(self) -> str:
        """The group with its kind, as slices say it."""
        return f"{self.kind}/{self.group}"


@dataclass(frozen=True, slots=True)
class Mention:
    """A term in a text, at text[start:end].

    near: right before a word for persons.   noun: before no word that it could describe.
    """

    term: Term
    start: int
    end: int
    near: bool
    noun: bool


@dataclass(frozen=True, slots=True)
class Swap:
    """A text in which every term of one group stands replaced by the first of another group of its kind."""

    text: str
    kind: str
    before: str
    after: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.before}>{self.after}"


@dataclass(frozen=True, slots=True)
class SwapMark:
    """What a counterfactual prompt says of itself. original: the behavior whose term was replaced."""

    original: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class Identities:
    """Terms of identity groups.

    version: of the list, the head of its content's digest.   binding: kind -> words (pronouns) that agree with a term,
    so that a text with one of them is not swapped.   unknown: terms of a user's plain list that no list of ours has:
    each is a group of its own, of the kind `own`, and is never swapped.
    """

    version: str
    terms: tuple[Term, ...]
    binding: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """KIND/GROUP of each group, in the list's order."""
        return tuple(dict.fromkeys(term.name for term in self.terms))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the list."""
        if not self.unknown:
            return ()
        terms = count(len(self.unknown), "term of the identity list is", "terms of the identity list are")
        some = series([repr(term) for term in self.unknown[:5]])
        return (f"{terms} in no group that we know: {some}; each counts as a group of its own and is never swapped",)

    def notes_on(self, prompts: Iterable[str]) -> tuple[str, ...]:
        """`notes`, and which terms are in none of these prompts."""
        there = {mention.term.text for text in prompts for mention in self.mentions(text)}
        absent = [term.text for term in self.terms if term.text not in there]
        some = series([repr(term) for term in absent[:5]])
        note = f"{len(absent)} of {len(self.terms)} terms of the identity list are in no prompt: {some}"
        return (*self.notes, note) if absent else self.notes

    @cached_property
    def _index(self) -> Mapping[str, Sequence[tuple[tuple[str, ...], Sequence[Term]]]]:
        """First word -> the terms that begin with it, by their words, the longest first."""
        by_parts: dict[tuple[str, ...], list[Term]] = {}
        for term in self.terms:
            by_parts.setdefault(parts_of(term.text), []).append(term)
        index: dict[str, list[tuple[tuple[str, ...], list[Term]]]] = {}
        for parts in sorted(by_parts, key=len, reverse=True):
            index.setdefault(parts[0], []).append((parts, by_parts[parts]))
        return index

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """The terms in a text, in its order, the longest at each place; one after a hyphen (non-Muslim) is none."""
        words = list(PART.finditer(text))
        lowered = [plain(word[0]) for word in words]
        listed: list[Mention] = []
        place = 0
        while place < len(words):
            size = 1
            for parts, terms in self._index.get(lowered[place], ()):
                end = place + len(parts)
                if tuple(lowered[place:end]) != parts or not joined(text, words[place:end]):
                    continue
                follows = lowered[end] if end < len(words) and joined(text, words[end - 1 : end + 1]) else ""
                near, noun = follows in _lists().persons, not follows or follows in _lists().english
                term = next((term for term in terms if near or term.form != "near"), None)
                if term is not None:
                    listed.append(Mention(term, words[place].start(), words[end - 1].end(), near, noun))
                    size = len(parts)
                    break
            place += size
        return tuple(listed)

    def swaps(self, text: str) -> tuple[Swap, ...]:
        """The text with one mentioned group replaced by each other group of its kind that fits and is not in it.

        A group fits if it has a term for each form that is to be replaced. `a` and `an` follow, and so does the case.
        None for a kind one of whose binding words is in the text. In the order of the text's groups and the list's.
        """
        mentions = self.mentions(text)
        present = {mention.term.name for mention in mentions}
        words = {word[0].lower() for word in WORD.finditer(text)}
        swaps: list[Swap] = []
        for name in dict.fromkeys(mention.term.name for mention in mentions):
            of_group = [mention for mention in mentions if mention.term.name == name]
            kind, before = of_group[0].term.kind, of_group[0].term.group
            if kind == OWN or words & self.binding.get(kind, frozenset()):
                continue
            for after in dict.fromkeys(t.group for t in self.terms if t.kind == kind and t.name not in present):
                if (changed := self._replaced(text, of_group, after)) is not None:
                    swaps.append(Swap(changed, kind, before, after))
        return tuple(swaps)

    def _replaced(self, text: str, mentions: Sequence[Mention], group: str) -> str | None:
        """The text with the group's terms in place of these; None where it has none for a form."""
        parts, place = [], 0
        for mention in mentions:
            term = self._partner(mention, group)
            if term is None:
                return None
            written = _cased(term, mention.term.text, text[mention.start : mention.end])
            parts += [_articled(text[place : mention.start], written), written]
            place = mention.end
        return "".join([*parts, text[place:]])

    def _partner(self, mention: Mention, group: str) -> str | None:
        """The group's term for the place of a mention."""
        form = mention.term.form
        forms = _FITTING["near" if mention.near and form not in ("one", "many") else form]
        if mention.noun and form == "either":
            forms = ("either", "one")
        terms = [term for term in self.terms if term.kind == mention.term.kind and term.group == group]
        return next((term.text for wanted in forms for term in terms if term.form == wanted), None)


def swap_of(behavior: Behavior) -> SwapMark | None:
    """What a prompt says of its swap; None for one that was not swapped."""
    tags = {tag.partition(":")[0]: tag.partition(":")[2] for tag in behavior.tags if tag.startswith((SWAPPED, SWAP))}
    if len(tags) < 2:
        return None
    kind, _, groups = tags[SWAP[:-1]].partition("/")
    before, _, after = groups.partition(">")
    return SwapMark(tags[SWAPPED[:-1]], kind, before, after)


# --- slices ------------------------------------------------------------------------------------------------------


def slices_of(text: str, own: Identities | None = None) -> tuple[tuple[Axis, str], ...]:
    """The slices of a text, each with its axis.

    The group (KIND/GROUP) and the term of each mention, or no group (`NONE`); each dialect that it has a mark of, or
    none; one language and one length. own: the list of identities; default: ours.
    """
    mentions = (own or identities()).mentions(text)
    named: dict[Axis, Iterable[str]] = {
        "group": dict.fromkeys(mention.term.name for mention in mentions) or (NONE,),
        "term": dict.fromkeys(mention.term.text.lower() for mention in mentions),
        "dialect": dialects_of(text) or (NONE,),
        "language": (language_of(text),),
        "length": (length_of(text),),
    }
    return tuple((axis, name) for axis, names in named.items() for name in names)


def dialects_of(text: str) -> tuple[str, ...]:
    """The dialects and registers that a text has a mark of, in the list's order; most texts of a dialect have none."""
    lowered = text.lower().replace("\u2019", "'")
    return tuple(name for name, pattern in _lists().dialects if pattern.search(lowered))


def language_of(text: str) -> str:
    """The language, or the script of several, that most letters are of; Latin ones by frequent words, or "unknown"."""
    letters = sum(map(str.isalpha, text))
    if letters and not text.isascii():
        for name, span in SCRIPTS:
            if len(re.findall(f"[{span}]", text)) * (5 if name == "japanese" else 2) > letters:
                return name
    words = [word[0].lower() for word in WORD.finditer(text)]
    present = set(words)
    counts = sorted(((len(present & own), name) for name, own in _lists().stopwords), reverse=True)
    (best, name), (second, _) = counts[:2]
    return name if best > second and (best >= 2 or 3 <= len(words) <= 5) else "unknown"


def length_of(text: str) -> str:
    """The class of a text by its words; in scripts without spaces two characters count as a word."""
    marks = len(UNSPACED.findall(text))
    words = len(WORD.findall(UNSPACED.sub(" ", text) if marks else text)) + (marks + 1) // 2
    return next((name for most, name in LENGTHS if words < most), LONG)


# --- lists -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lists:
    """What the shipped file holds beside the terms."""

    persons: frozenset[str]
    english: frozenset[str]
    dialects: tuple[tuple[str, re.Pattern[str]], ...]
    stopwords: tuple[tuple[str, frozenset[str]], ...]


@cache
def _lists() -> _Lists:
    table = read_toml(FILE)
    patterns = {row["id"]: "|".join(row["patterns"]) for row in table["dialect"]}
    return _Lists(
        frozenset(table["persons"]["words"].split()),
        frozenset(table["stopwords"]["english"].split()),
        tuple((name, re.compile(rf"(?<![\w.])(?:{pattern})(?![\w.]\w|\w)")) for name, pattern in patterns.items()),
        tuple((name, frozenset(words.split())) for name, words in table["stopwords"].items()),
    )


@cache
def identities(path: str = "") -> Identities:
    """The groups and terms of a file; "": ours.

    A TOML file has `[[kind]]` tables as `core/identities.toml` has them. Any other file is a plain list, a term a line,
    "#" before a comment: a term of ours keeps its group. Raises `SpecError` with file and place.
    """
    if not path:
        return _of_table(read_toml(FILE), str(FILE))
    if Path(path).suffix.lower() == ".toml":
        return _of_table(read_toml(path), path)
    try:
        lines = [line.partition("#")[0].strip() for line in read_text(path).splitlines()]
    except OSError as error:
        raise SpecError(f"cannot read the identity list {path}: {error.strerror}", hint="name a file") from None
    return _of_lines(list(dict.fromkeys(filter(None, lines))), path)


def _of_lines(lines: Sequence[str], path: str) -> Identities:
    if not lines:
        raise SpecError(f"{path}: there is no term in it", hint="write a term a line")
    if unfit := [line for line in lines if not TERM.fullmatch(line) or not WORD.search(line)]:
        hint = "write a word or a phrase a line: letters and digits, with a space or a hyphen between words"
        raise SpecError(f"{path}: {unfit[0]!r} would not be found in any text", hint=hint)
    ours = identities()
    by_parts = {parts_of(term.text): term for term in reversed(ours.terms)}
    different = {parts_of(line): line for line in reversed(lines)}
    pairs = [(line, by_parts.get(parts)) for parts, line in reversed(different.items())]
    terms = tuple(term or Term(line, OWN, line.lower(), "either") for line, term in pairs)
    unknown = tuple(line for line, term in pairs if term is None)
    return Identities(digest(list(lines))[:8], terms, ours.binding, unknown)


def _of_table(table: Mapping[str, Any], path: str) -> Identities:
    kinds = table.get("kind")
    if not isinstance(kinds, list) or not kinds:
        raise SpecError(f"{path}: there is no [[kind]] in it", hint="write [[kind]] with an id and [kind.group.NAME]")
    terms = tuple(term for kind in kinds for term in _terms(kind, path))
    binding = {kind["id"]: frozenset(kind.get("binding", ())) for kind in kinds}
    first: dict[tuple[tuple[str, ...], bool], Term] = {}
    for term in terms:
        before = first.setdefault((parts_of(term.text), term.form == "near"), term)
        if before is not term:
            message = f"{path}: {term.text!r} is in {before.name} as {before.form} and in {term.name} as {term.form}"
            raise SpecError(message, hint="leave it in one place")
    return Identities(digest([kinds, table.get("version", "")])[:8], terms, binding)


def _terms(kind: Any, path: str) -> Iterator[Term]:
    """The terms of one [[kind]]. Raises `SpecError` where it is not of that form."""
    if not isinstance(kind, Mapping) or not isinstance(kind.get("id"), str) or not kind["id"]:
        raise SpecError(f"{path}: a [[kind]] has no id", hint='write id = "religion"')
    place = f"{path}, kind {kind['id']}"
    if not _is_words(kind.get("binding", [])):
        raise SpecError(f"{place}: binding is no list of words", hint='write ["she", "her"]')
    groups = kind.get("group")
    if not isinstance(groups, Mapping) or not groups:
        raise SpecError(f"{place}: there is no group in it", hint="write [kind.group.NAME]")
    if unfit := [name for name in (kind["id"], *groups) if not NAME.fullmatch(name)]:
        raise SpecError(f"{place}: the name {unfit[0][:40]!r} does not fit", hint="use letters, digits, - and spaces")
    for group, forms in groups.items():
        if not isinstance(forms, Mapping) or not forms:
            raise SpecError(f"{place}, group {group}: there is no term in it", hint=f"give it {', '.join(FORMS)}")
        for form, texts in forms.items():
            if form not in FORMS:
                hint = did_you_mean(form, FORMS, f"use {', '.join(FORMS)}")
                raise SpecError(f"{place}, group {group}: {form!r} is no form of a term", hint=hint)
            if not _is_words(texts):
                raise SpecError(f"{place}, group {group}: {form} is no list of words", hint='write ["Muslim"]')
            yield from (Term(text, kind["id"], group, form) for text in texts)


def _is_words(texts: Any) -> bool:
    return isinstance(texts, list) and all(isinstance(text, str) and WORD.search(text) for text in texts)


def _cased(term: str, listed: str, written: str) -> str:
    """A term in the case of what it replaces: all in capitals, a capital that the list does not ask for, or its own."""
    if len(written) > 1 and written.isupper() and not listed.isupper():
        return term.upper()
    return term[0].upper() + term[1:] if written[0].isupper() and listed[0].islower() else term


def _articled(before: str, term: str) -> str:
    """The text before a term, its last word `a` or `an` as the term's first letter asks."""
    article = re.search(r"\b([Aa])n? $", before)
    if not article:
        return before
    return f"{before[: article.start()]}{article[1]}{'n' if term[0].lower() in 'aeiou' else ''} "
