"""SafeText's everyday advice, safe and unsafe, from your copy. Levy et al. 2022, arXiv:2210.10045.

Each scenario has one or two unsafe pieces of advice and two or three safe ones. Nobody attacks: it measures whether a
model knows what would injure somebody, and whether it turns good advice down. Public since October 2022, so most models
have read it: near-perfect figures are weak evidence. Some of the advice would injure whoever followed it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import Behavior, Json, SpecError, dumps
from withstand.core.bounded import parse_json
from withstand.core.notice import tell
from withstand.core.questions import DEMANDS, advice_of, against, question_of
from withstand.core.text import count
from withstand.data import _read
from withstand.formats import rows

NAME = "SafeText.json"
OURS = "builtin:kitchen-advice"
COMMIT = "25bb7a8"  # sharonlevy/SafeText
SHA256 = "e33c84e193f9005d611d933ef55c52e1ef4d6f2f2245d2d999b646f50a8095f5"
LABELS = ("unsafe", "safe")
CITATION = """@inproceedings{levy2022safetext,
  title = {{SafeText}: A Benchmark for Exploring Physical Safety in Language Models},
  author = {Levy, Sharon and Allaway, Emily and Subbiah, Melanie and Chilton, Lydia and Patton, Desmond and
    McKeown, Kathleen and Wang, William Yang},
  booktitle = {Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing},
  pages = {2407--2421},
  year = {2022},
  eprint = {2210.10045},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True, slots=True)
class SafeText:
    """370 unsafe pieces of advice in 367 scenarios, as questions; the 1,095 safe ones are the benign half.

    A behavior is a scenario (its context) and one piece of advice (its target string); its text asks whether one should
    do it. Its tags `against:ADVICE` hold the advice of the other label. Ids are `st-`, ten digits of the scenario's
    SHA-256, `/`, the label and the place in its list; intervals take what a scenario holds together.

    path: your copy of SafeText.json, the folder that holds it, or its http(s) URL; `builtin:kitchen-advice` is ours.
    harmless: instead the safe advice, which must not be turned down.
    scenarios: only so many of them, the same of both halves: the lowest ids. Default 0: all.
    domains: a CSV file of yours with the columns scenario and domain, one row for each scenario; reports then say each
        domain. Default "": none, as in the published file.
    """

    path: str
    harmless: bool = False
    scenarios: int = 0
    domains: str = field(default="", metadata={"added": "0.2"})

    split: ClassVar[str] = "all"
    judge: ClassVar[str] = "yes_no"
    refusal_judge: ClassVar[str] = "yes_no"
    max_tokens: ClassVar[int] = 128

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"path": OURS}

    def __post_init__(self) -> None:
        if not self.path:
            raise SpecError("path is empty", hint=f"name your {NAME}, or use kitchen-advice, which is shipped")
        if self.scenarios < 0:
            raise SpecError(f"scenarios is {self.scenarios}; it must be 0 or more", hint="0 takes all")

    @property
    def license(self) -> str:
        return "Apache-2.0" if self.path == OURS else "MIT"

    @property
    def citation(self) -> str:
        return "" if self.path == OURS else CITATION

    @property
    def benign(self) -> str:
        """The safe half, of the same scenarios; none for that half itself."""
        if self.harmless:
            return ""
        name = "kitchen-advice-benign" if self.path == OURS else f"safetext-benign:{dumps(self.path)}"
        name += f",scenarios={self.scenarios}" if self.scenarios else ""
        return f"{name},domains={dumps(self.domains)}" if self.domains else name

    @property
    def version(self) -> str:
        """The upstream commit, if the file is its own to the byte; else `modified-` and the head of its sha256."""
        digest = sha256(self._file().data).hexdigest()
        return "1" if self.path == OURS else COMMIT if digest == SHA256 else f"modified-{digest[:8]}"

    def load(self) -> list[Behavior]:
        """The half's behaviors, in the file's order. Says of an edited copy what differs from the published file.

        Raises `SpecError` with file and scenario.
        """
        file = self._file()
        advice = _advice(file)
        if self.path != OURS and (differing := differences(advice)):
            tell(f"{file.name} is not the published SafeText: {differing}")
        domain_of = self._domains(advice)
        chosen = set(sorted(map(scenario_id, advice))[: self.scenarios or None])
        return [
            replace(behavior, category=domain_of.get(scenario_id(scenario), ""))
            for scenario, lists in advice.items()
            if scenario_id(scenario) in chosen
            for behavior in _behaviors(scenario, lists, self.harmless)
        ]

    def _domains(self, advice: Mapping[str, Any]) -> dict[str, str]:
        """Scenario's id -> domain. Raises `SpecError` for a scenario that one of the files lacks."""
        if not self.domains:
            return {}
        file = rows.read(self.domains)
        pairs = [(row.place, row.cells.get("scenario"), row.cells.get("domain")) for row in rows.parse_csv(file)]
        for place, scenario, domain in pairs:
            if not scenario or not domain:
                raise SpecError(f"{place}: scenario or domain is empty", hint="give each row both")
        domain_of = {scenario_id(str(scenario)): str(domain) for _, scenario, domain in pairs}
        names = {scenario_id(scenario): scenario for scenario in advice}
        labeled = {scenario_id(str(scenario)): str(scenario) for _, scenario, _ in pairs}
        for lacking, whole, part in ((file.name, names, labeled), ("the advice", labeled, names)):
            if unmatched := [text for name, text in whole.items() if name not in part]:
                message = f"{lacking} lacks {count(len(unmatched), 'scenario')}, such as {unmatched[0][:60]!r}"
                raise SpecError(message, hint="write each scenario as the file of the advice has it")
        return domain_of

    def _file(self) -> rows.File:
        if self.path == OURS:
            return _read.packaged_file("safetext_files", "kitchen-advice.json")
        folder = not rows.is_url(self.path) and Path(self.path).is_dir()
        return rows.read_or_fetch(f"{self.path}/{NAME}" if folder else self.path)


def scenario_id(scenario: str) -> str:
    return f"st-{sha256(scenario.strip().encode()).hexdigest()[:10]}"


def _advice(file: rows.File) -> dict[str, dict[str, list[str]]]:
    """Scenario -> label -> its advice as the file has it. Raises `SpecError` where a scenario is not of that form."""
    table = parse_json(file.name, file.text(), unique=True)
    if not isinstance(table, Mapping) or not table:
        raise SpecError(f"{file.name} is no object of scenarios", hint=f"give the {NAME} of sharonlevy/SafeText")
    ids: dict[str, str] = {}
    for scenario, lists in table.items():
        place = f"{file.name}, scenario {scenario[:60]!r}"
        if not isinstance(lists, Mapping) or set(lists) != set(LABELS):
            raise SpecError(f"{place}: it needs the lists unsafe and safe, and nothing else", hint="fix the file")
        for label in LABELS:
            texts = lists[label]
            if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
                raise SpecError(f"{place}: {label} is no list of texts", hint="give it at least one, none empty")
        if both := {*map(advice_of, lists["unsafe"])} & {*map(advice_of, lists["safe"])}:
            raise SpecError(f"{place}: {min(both)!r} is safe and unsafe", hint="delete it from one of the lists")
        if (before := ids.setdefault(scenario_id(scenario), scenario)) is not scenario:
            raise SpecError(f"{place}: it is in the file twice, as {before[:60]!r}", hint="merge the two")
    return dict(table)


def _behaviors(scenario: str, lists: Mapping[str, list[str]], harmless: bool) -> Iterator[Behavior]:
    label, rival = ("safe", "unsafe") if harmless else ("unsafe", "safe")
    rivals = dict.fromkeys(map(advice_of, lists[rival]))  # a few scenarios say the same twice
    for place, text in enumerate(lists[label]):
        advice = advice_of(text)
        yield Behavior(
            f"{scenario_id(scenario)}/{label}-{place}",
            f"{question_of(advice)} {DEMANDS['advisable']}",
            context=f"{scenario.strip().rstrip(',')},",
            target_string=advice,
            tags=tuple(against(rival) for rival in rivals),
            benign=harmless,
            cluster=scenario_id(scenario),
        )


# --- edited copies ------------------------------------------------------------------------------------------------


def differences(advice: Mapping[str, Mapping[str, list[str]]]) -> str:
    """How many scenarios of a copy are not in the published file, changed, or missing, with the first of each kind.

    "" for the same content. The published file is known by digests alone.
    """
    lines = _read.packaged_file("safetext_files", "published.txt").text().split()
    published = dict(zip(lines[::2], lines[1::2], strict=True))
    copies = {scenario_id(scenario): (scenario, _digest(scenario, lists)) for scenario, lists in advice.items()}
    new = [scenario for name, (scenario, _) in copies.items() if name not in published]
    changed = [text for name, (text, digest) in copies.items() if name in published and published[name] != digest]
    missing = [name for name in published if name not in copies]
    kinds = {"whose words are not in it": new, "with other advice": changed, "missing": missing}
    return "; ".join(f"{len(names)} {kind}, such as {names[0][:60]!r}" for kind, names in kinds.items() if names)


def _digest(scenario: str, lists: Mapping[str, list[str]]) -> str:
    return sha256(dumps([scenario, lists["unsafe"], lists["safe"]]).encode()).hexdigest()[:8]
