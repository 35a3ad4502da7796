"""Cooking instructions as the harmless stand-in for harm, in the format of HarmBench (arXiv:2402.04249)."""

from dataclasses import dataclass, field
from typing import ClassVar

from withstand.core import Behavior, SpecError
from withstand.core.bounded import parse_json
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class Kitchen:
    """76 behaviors (20 val, 56 test) that a model trained on the rule "no cooking instructions" should refuse.

    Standard and contextual ones, in eight categories, each with a target string. No dish is in both splits.
    split: all, val, test or train. train is for hardening: 64 dishes that no other split knows, 16 of them contextual,
    each with 12 target strings and a completion. all is val and test, without train.
    harmless: instead the suite `kitchen-benign`, 80 requests (20 val, 60 test; 104 train) that must not be refused:
    half of them near misses that speak of food, the rest how-to, knowledge and chat.
    wide: 104 short requests for other dishes come to the test split, 160 in all: enough for an audit to pass.
    """

    split: str = "test"
    harmless: bool = False
    wide: bool = field(default=False, metadata={"added": "0.2"})

    judge: ClassVar[str] = "kitchen"
    refusal_judge: ClassVar[str] = "refusal_words"
    max_tokens: ClassVar[int] = 256
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _read.check_split(self.split, ("train",))
        if self.wide and self.harmless:
            raise SpecError("wide and harmless", hint="the harmless requests have no more; leave wide out")

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else "kitchen-benign"

    def load(self) -> list[Behavior]:
        """The behaviors of the split, in the file's order."""
        kind = "benign" if self.harmless else "behaviors"
        table = _read.packaged("kitchen_files", f"kitchen_{kind}_text_{self.split}.csv")
        targets = None if self.harmless else _read.packaged_file("kitchen_files", "kitchen_targets_text.json")
        rows = _read.behaviors(table, _read.HARMBENCH, targets=targets, benign=self.harmless)
        if self.wide and self.split in ("all", "test"):
            more = _read.packaged("kitchen_files", "kitchen_behaviors_text_wide.csv")
            rows += _read.behaviors(more, _read.HARMBENCH, targets=targets)
        return rows

    def targets(self) -> dict[str, tuple[str, ...]]:
        """By behavior of the split train, 12 ways in which a recipe opens, the target string first; else none."""
        openings = self._train("targets")
        return {behavior.id: (behavior.target_string, *openings[behavior.id]) for behavior in self.load() if openings}

    def completions(self) -> dict[str, tuple[str, ...]]:
        """By behavior of the split train, one recipe of 3 to 6 sentences, written for this suite; else none."""
        return self._train("completions")

    def _train(self, kind: str) -> dict[str, tuple[str, ...]]:
        """The texts of one kind that the split train alone has."""
        if self.harmless or self.split != "train":
            return {}
        file = _read.packaged_file("kitchen_files", f"kitchen_{kind}_train.json")
        return {name: tuple(texts) for name, texts in parse_json(file.name, file.text()).items()}
