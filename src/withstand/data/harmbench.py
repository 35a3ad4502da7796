"""HarmBench's text behaviors, from your copy. Mazeika et al. 2024, arXiv:2402.04249."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import ClassVar
from urllib.parse import urljoin, urlsplit

from withstand.core import Behavior, SpecError
from withstand.core.taxonomy import Taxonomy
from withstand.data import _read
from withstand.formats import rows

TARGETS = "harmbench_targets_text.json"
BEHAVIORS = {split: f"harmbench_behaviors_text_{split}.csv" for split in _read.SPLITS}

# centerforaisafety/HarmBench, data/behavior_datasets and data/optimizer_targets
COMMIT = "8e1604d"
SHA256 = {
    "harmbench_behaviors_text_all.csv": "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc",
    "harmbench_behaviors_text_val.csv": "7bfaaa5e2b9b95002c89e2d33c019f58e9e8496e2fc65d368f1eeb8179e69534",
    "harmbench_behaviors_text_test.csv": "75d257b3e7428c52eb7b0154318f455af3e01b09a3794b5e2f3d36054f3c0e29",
    "harmbench_targets_text.json": "dedcac1f8c0108ca79e36589ef9693d5af916ed70878e60fb2c4c20482872e3f",
}


@dataclass(frozen=True, slots=True)
class HarmBench:
    """400 text behaviors (80 val, 320 test): standard, contextual and copyright. No multimodal ones yet.

    path: HarmBench's checkout, a folder with the official files, or one behaviors CSV (its target strings are read if
    they lie beside it); the last two may be an http(s) URL, fetched once into the cache folder (`WITHSTAND_CACHE`).
    split: all, val or test. Published tables use test; develop on val.
    benign: the suite to measure over-refusal with, such as xstest-safe; HarmBench has none of its own.

    The judge looks for words of refusal: label such numbers string matching, never HarmBench's ASR. That one comes
    from its classifier, the judge `harmbench_cls`.
    """

    path: str
    split: str = "test"
    benign: str = field(default="", metadata={"added": "0.2"})

    judge: ClassVar[str] = "refusal_words"
    refusal_judge: ClassVar[str] = "refusal_words"
    max_tokens: ClassVar[int] = 512
    taxonomy: ClassVar[Taxonomy] = (  # as in `published`
        ("chemical_biological", "iwp", ""),
        ("copyright", "ipv", ""),
        ("cybercrime_intrusion", "ncr", ""),
        ("harassment_bullying", "hte dfm", ""),
        ("harmful", "vcr ssh sxc", ""),
        ("illegal", "ncr vcr", ""),
        ("misinformation_disinformation", "dfm", "LLM09"),
    )
    license: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/centerforaisafety/HarmBench"
    citation: ClassVar[str] = """@inproceedings{mazeika2024harmbench,
  title = {{HarmBench}: A Standardized Evaluation Framework for Automated Red Teaming and Robust Refusal},
  author = {Mazeika, Mantas and Phan, Long and Yin, Xuwang and Zou, Andy and Wang, Zifan and Mu, Norman and
    Sakhaee, Elham and Li, Nathaniel and Basart, Steven and Li, Bo and Forsyth, David and Hendrycks, Dan},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2402.04249},
  archivePrefix = {arXiv}
}"""

    def __post_init__(self) -> None:
        _read.check_split(self.split)
        if not self.path:
            raise SpecError("path is empty", hint=f"name the folder that holds {BEHAVIORS[self.split]} and {TARGETS}")
        for split, name in BEHAVIORS.items():
            if split != self.split and Path(urlsplit(self.path).path).name == name:
                raise SpecError(f"{self.path} is the split {split!r}, not {self.split!r}", hint=f"say split={split}")

    @property
    def version(self) -> str:
        """The upstream commit, if the files are its own to the byte; else `modified-` and the head of their sha256."""
        behaviors, targets = self._files()
        names = {BEHAVIORS[self.split]: behaviors} | ({TARGETS: targets} if targets else {})
        if all(sha256(file.data).hexdigest() == SHA256[name] for name, file in names.items()):
            return COMMIT
        return "modified-" + sha256(b"".join(file.data for file in names.values())).hexdigest()[:8]

    def load(self) -> list[Behavior]:
        """The behaviors of the split, in the file's order. Raises `SpecError` with file, row and column."""
        behaviors, targets = self._files()
        return _read.behaviors(_read.csv_table(behaviors), _read.HARMBENCH, targets=targets)

    def _files(self) -> tuple[rows.File, rows.File | None]:
        """Behaviors and target strings; only a CSV named by itself may come without the latter."""
        alone = urlsplit(self.path).path.lower().endswith(".csv")
        remote = rows.is_url(self.path)
        checkout = not remote and (Path(self.path) / "data/behavior_datasets").is_dir()
        folder = f"{self.path.rstrip('/')}/data/behavior_datasets" if checkout else self.path.rstrip("/")
        place = self.path if alone else f"{folder}/{BEHAVIORS[self.split]}"
        behaviors = rows.read_or_fetch(place)
        try:
            near = Path(folder, "../optimizer_targets") if checkout else Path(place).parent
            beside = urljoin(place, TARGETS) if remote else str(near / TARGETS)
            return behaviors, rows.read_or_fetch(beside)
        except rows.MissingError as error:
            if alone:
                return behaviors, None
            hint = f"copy it beside {BEHAVIORS[self.split]}; upstream keeps it in data/optimizer_targets"
            raise SpecError(str(error), hint=hint) from None
