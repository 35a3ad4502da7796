"""Three trainings of one model: on all texts, on those that the filter keeps, and on all but as many drawn at random.

The last is the control: what it loses is what any loss of so many texts costs. Held-out texts, which none is trained
on, are read by each; what was read is kept by content, so that the same command goes on where it was stopped.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from withstand.audits import cost
from withstand.audits.filter import nats
from withstand.audits.filter.nats import Reads
from withstand.audits.filter.texts import Text
from withstand.core import Json, Message, SpecError, bounded, digest, rng, to_json
from withstand.core.stage import Row, innermost
from withstand.core.text import count
from withstand.registry import find
from withstand.report.write import save
from withstand.runner import chain

Arm: TypeAlias = Literal["all", "filtered", "control"]
ARMS: tuple[Arm, ...] = ("all", "filtered", "control")
FEWEST = 8
"""Texts that each arm is trained on, at least."""
HELD_OUT = 0.2
"""Share of the data that is held out, where no other file is."""
VERSION = 1
"""Of what a kept reading holds: another one is read anew."""
Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """What is trained, on what. dropped: of each text, whether the filter drops it.   running: texts, not chats.
    written: the stage, as the user wrote it."""

    model: Any
    stage: Any
    texts: tuple[Text, ...]
    dropped: tuple[bool, ...]
    running: bool
    seeds: int
    seed: int
    folder: Path
    written: str = ""

    def characters(self, arm: Arm) -> float:
        """The share of all characters that an arm is trained on; of the control that of its first seed."""
        sizes = [sum(len(turn.text) for row in self.rows(of, 0) for turn in row.chat) for of in (arm, ARMS[0])]
        return sizes[0] / max(1, sizes[1])

    def rows(self, arm: Arm, seed: int) -> list[Row]:
        """What an arm is trained on."""
        gone = {place for place, drop in enumerate(self.dropped) if drop}
        if arm == "control":
            gone = set(rng(self.seed, f"filter control {seed}").sample(range(len(self.texts)), len(gone)))
        kept = [text for place, text in enumerate(self.texts) if arm == "all" or place not in gone]
        return [row for text in kept if (row := row_of(text, self.running)) is not None]


def row_of(text: Text, running: bool) -> Row | None:
    """A text as a row. Of running text the stage `plain_text` joins the turns again; None for a single word."""
    if not running:
        return Row(text.chat)
    first, _, rest = text.chat[-1].text.strip().partition(" ")
    return Row((Message("user", first), Message("assistant", rest))) if rest.strip() else None


def stage_of(spec: dict[str, Any], running: bool) -> Any:
    """The stage to train by; running texts are trained on as such, without a chat template."""
    stage = find.build("stage", spec)
    if find.name_of(type(stage)) == "plain_text" and not running:
        raise SpecError("plain_text trains on running text, and DATA holds chats", hint="leave it out: --train sft")
    around = running and find.name_of(type(stage)) != "plain_text"
    return find.build("stage", {"use": "plain_text", "stage": spec}) if around else stage


def split(texts: Sequence[Text], share: float, seed: int) -> tuple[list[int], list[int]]:
    """The places of texts to train on, and of those held out: whole clusters, drawn at random."""
    clusters = [text.cluster or f"\0{place}" for place, text in enumerate(texts)]
    names = sorted(set(clusters))
    held = set(rng(seed, "filter held out").sample(names, max(1, round(share * len(names)))))
    sides = ([place for place, name in enumerate(clusters) if (name in held) is side] for side in (False, True))
    trained, out = sides
    return trained, out


def check(training: Training) -> None:
    """Raise `SpecError` where an arm has too few texts, nothing is dropped, or the disk does not hold a training."""
    chain.check_trainable(training.model)
    if not any(training.dropped):
        raise SpecError("the filter drops none of the texts to train on", hint="more data, or leave --train out")
    if (left := len(training.rows("filtered", 0))) < FEWEST:
        raise SpecError(f"the filter leaves {count(left, 'text')} to train on", hint=f"at least {FEWEST} are needed")
    needed = cost.result_bytes(training.model, training.stage) + cost.resume_bytes(training.model, training.stage)
    cost.check_disk(
        training.folder, needed + cost.merged_bytes(training.model), "a training", "--train sft,method=lora"
    )


def readings(training: Training, held: Sequence[Text], say: Say) -> list[dict[Arm, Reads]]:
    """What the three models of each seed read of the held-out texts. Weights are deleted once they have read."""
    total, listed = training.seeds * len(ARMS), list[dict[Arm, Reads]]()
    for seed in range(training.seeds):
        by_arm: dict[Arm, Reads] = {}
        for arm in ARMS:
            say(f"training {len(listed) * len(ARMS) + len(by_arm) + 1} of {total}: {arm}")
            by_arm[arm] = _read(training, arm, seed, held, say)
        listed.append(by_arm)
    return listed


def learned(training: Training, held: Sequence[Text], by_seed: Sequence[dict[Arm, Reads]]) -> float:
    """By how many nats a token the models trained on all texts read held-out ones better than the untrained model does:
    what a training learned, and so the most that a choice of texts could cost."""

    def read() -> Reads:
        result = nats.reads(training.model, "base", held, training.running)
        training.model.release()
        return result

    before = _kept(training, ["base", find.describe(training.model)], "base", held, read)
    after = sum(reads["all"].nats.sum() for reads in by_seed) / len(by_seed)
    return float(before.nats.sum() - after) / max(1, int(before.tokens.sum()))


def _read(training: Training, arm: Arm, seed: int, held: Sequence[Text], say: Say) -> Reads:
    rows = training.rows(arm, seed)
    step = chain.Step(seeded(training.stage, training.seed + seed), rows)

    def read() -> Reads:
        say(count(len(rows), "row"))
        [done] = chain.train(training.model, [step], training.folder / "stages")
        result = nats.reads(done.model, arm, held, training.running)
        done.model.release()
        shutil.rmtree(done.folder, ignore_errors=True)
        return result

    return _kept(training, chain.key_for(step, training.model), arm, held, read, say)


def _kept(
    training: Training, key: Json, label: str, held: Sequence[Text], read: Callable[[], Reads],
    say: Say = lambda _: None,
) -> Reads:  # fmt: skip
    """What was read earlier of these texts under this key, else what is read now, which is kept."""
    texts = [to_json(text.chat) for text in held]
    path = training.folder / "read" / f"{digest([VERSION, key, nats.LONGEST, training.running, texts])[:24]}.json"
    if path.is_file():
        say("read earlier")
        kept = bounded.parse_json(str(path), bounded.read_text(path))
        return Reads(label, np.array(kept["nats"], float), np.array(kept["tokens"], np.int64), kept["cut"])
    result = read()
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"nats": result.nats.tolist(), "tokens": result.tokens.tolist(), "cut": result.cut}
    save(path, json.dumps(value) + "\n")
    return result


def seeded(stage: Any, seed: int) -> Any:
    """The stage with another seed, that of the stage inside it where it has none of its own."""
    if innermost(stage) is stage:
        return replace(stage, seed=seed)
    return replace(stage, stage=seeded(stage.stage, seed))
