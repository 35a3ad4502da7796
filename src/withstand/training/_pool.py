"""The test cases that R2D2 keeps from one weight update to the next: behaviors, target strings, suffixes. Ours."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from withstand.core import Behavior, Json, SpecError, rng, to_json
from withstand.core.stage import Row, TrainingError
from withstand.engine.text import Prompt, as_sent, make_prompt
from withstand.training._view import View


@dataclass
class Entry:
    """A test case. `row`: of the rows, whose `rejected` is the target string. `slot`: the suffix, as token ids.

    loss: of its text in its last search, in nats per token of the target string; None before any.
    """

    row: int
    slot: list[int]
    loss: float | None = None


@dataclass(frozen=True)
class Case:
    """A test case as it is trained on: the ids of the prompt, of the target string and of the refusal."""

    prompt: list[int]
    target: list[int]
    refusal: list[int]


@dataclass
class Pool:
    """`stage`: the `R2D2`. rows: the adversarial ones; data: the same as the trainer has them. longest: most tokens.

    draws: the one generator of all that is drawn. searches: micro-batches so far.
    """

    stage: Any
    rows: Sequence[Row]
    data: Iterable[Mapping[str, Sequence[int]]]
    view: View
    longest: int
    draws: Any = None
    entries: list[Entry] = field(default_factory=list)
    searches: int = 0

    def __post_init__(self) -> None:
        self.draws = rng(self.stage.seed, "r2d2")
        self.behaviors: dict[Any, list[int]] = {}
        self.refusals: list[list[int]] = []
        for number, (row, ids) in enumerate(zip(self.rows, self.data, strict=True)):
            start = list(ids["completion_mask"]).index(1)
            asked = self.view.tokenizer(self.view.render(row.chat[-2:-1]), add_special_tokens=False)["input_ids"]
            if asked != list(ids["input_ids"][:start]):
                raise TrainingError(
                    f"the search and the training render a request differently: {row.chat[-2].text[:60]!r}"
                )
            self.refusals.append(list(ids["input_ids"][start:]))
            self.behaviors.setdefault(row.chat[:-1], []).append(number)
        for _ in range(self.stage.pool):
            self.entries.append(self.fresh(self.entries))

    def fresh(self, kept: Collection[Entry], replaced: Collection[Entry] = ()) -> Entry:
        """A behavior that neither has, as long as there is one, a target string of it, and marks as its suffix."""
        free: list[Any] = []
        for others in ([*kept, *replaced], kept, ()):
            held = {self.rows[entry.row].chat[:-1] for entry in others}
            free = free or [request for request in self.behaviors if request not in held]
        row = self.draws.choice(self.behaviors[self.draws.choice(free)])
        marks = " ".join("!" * self.draws.randint(self.stage.marks_min, self.stage.marks_max))
        return Entry(row, list(self.prompt(row, marks)[1]))

    def reset(self) -> None:
        """Replace a share of the entries by new ones."""
        places = self.draws.sample(range(len(self.entries)), self.stage.replaced)
        kept = {place: entry for place, entry in enumerate(self.entries) if place not in places}
        for place in places:
            kept[place] = self.fresh(kept.values(), self.entries)
        self.entries = [kept[place] for place in range(len(kept))]

    def behavior(self, row: int, name: str) -> Behavior:
        """A row as an attack takes it: its request, context included, and its target string."""
        request = self.rows[row].chat[-2].text
        return Behavior(name, request, target_string=self.rows[row].rejected)

    def prompt(self, row: int, marks: str) -> tuple[Prompt, tuple[int, ...]]:
        """What stands around the suffix of a row, and the ids of one of exclamation marks."""
        placement: Any = getattr(self.stage.attack, "placement", "suffix")
        return make_prompt(self.view, self.behavior(row, ""), marks, placement)

    def search(self) -> list[Case]:
        """Search on from the suffixes of some entries, on the model as it is now, and return what to train on."""
        stage, attack = self.stage, self.stage.attack
        places = sorted(self.draws.sample(range(len(self.entries)), stage.updated))
        chosen = [self.entries[place] for place in places]
        # the attack draws by the behavior's id: anew for each training, entry and micro-batch
        names = [f"{stage.seed}.{place}.{self.searches}" for place in places]
        behaviors = [self.behavior(entry.row, name) for entry, name in zip(chosen, names, strict=True)]
        given = [to_json(behavior) for behavior in behaviors]
        states = [attack.begun_at(entry.slot) for entry in chosen]
        while left := [i for i, state in enumerate(states) if not state["done"]]:
            parts = [{"behavior": given[i], "state": states[i]} for i in left]
            for i, state in zip(left, attack.advance(self.view, parts), strict=True):
                states[i] = state
        for entry, state in zip(chosen, states, strict=True):
            entry.slot, entry.loss = list(state["slot"]), float(state["loss"])
        self.searches += 1
        return [self.case(entry) for entry in chosen]

    def case(self, entry: Entry) -> Case:
        """What the update learns: the same ids that the search read."""
        prompt, _ = self.prompt(entry.row, "! !")
        text, read = as_sent(self.view, self.view.tokenizer, prompt, entry.slot)
        searched = [*prompt.head, *entry.slot, *prompt.tail]
        if searched != read:
            raise TrainingError(f"the search and the update read other tokens of one test case: {text[:60]!r}")
        case = Case(searched, list(prompt.target), self.refusals[entry.row])
        tokens = len(searched) + max(len(case.target), len(case.refusal))
        if tokens > self.longest:
            raise SpecError(
                f"a request with suffix and answer has {tokens} tokens, more than max_length {self.longest}: "
                f"{text[:60]!r}",
                hint="raise max_length of the stage inside, or leave the row out",
            )
        return case

    def shown(self) -> Json:
        """The test cases for a reader: row, from 1 among the adversarial ones, suffix and loss."""
        return [
            {"row": entry.row + 1, "suffix": self.view.tokenizer.decode(entry.slot), "loss": entry.loss}
            for entry in self.entries
        ]

    def json(self) -> Json:
        """All that the next search depends on, besides rows, fields and weights."""
        entries = [[entry.row, entry.slot, entry.loss] for entry in self.entries]
        version, numbers, gauss = self.draws.getstate()
        return {"entries": entries, "draws": [version, list(numbers), gauss], "searches": self.searches}

    def go_on(self, state: Json) -> None:
        """Take up the pool that `json` gave."""
        self.entries = [Entry(*entry) for entry in state["entries"]]
        version, numbers, gauss = state["draws"]
        self.draws.setstate((version, tuple(numbers), gauss))
        self.searches = state["searches"]
