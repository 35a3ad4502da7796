"""What is measured of a tampered model: harm on the test, sense, what it still knows; each cell kept by content."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.audits.exam import Answers, Exam, under
from withstand.audits.quiz import right_answers
from withstand.audits.readings import Texts
from withstand.audits.sense import Sense, shuffled
from withstand.audits.tamper import rows
from withstand.audits.tamper.losses import counts
from withstand.audits.tamper.records import Tampered
from withstand.audits.tamper.settings import Settings
from withstand.audits.trainable import whole
from withstand.core import Chat, Json, bounded, digest, from_json, to_json
from withstand.engine import likelihood
from withstand.registry import find
from withstand.report.write import save
from withstand.results.cells import plain

VERSION = 1
"""Of what a kept measurement holds: another one is measured anew."""


class Measure:
    """Asks models alike, and holds what the model says before anything is done to it, `base`.

    clean: texts that a model must still know. sense: says which answers make sense, by the reader's likelihood.
    """

    def __init__(self, model: Any, settings: Settings, folder: Path) -> None:
        self.settings, self.folder, self.system = settings, folder, getattr(model, "system", "")
        exam = Exam(
            settings.suite, folder / "audit.db", settings.limit, settings.judge, settings.max_tokens, settings.seed
        )
        before = exam.ask(model, self.system)
        self.exam = replace(exam, benign={"use": "none"})  # harmless prompts are asked of the model as it is alone
        self.reader = settings.reader or model
        read = exam.ask(self.reader, self.system) if settings.reader else before
        self.sense = Sense(self.reader, read, settings.seed)
        clean = [row.chat for row in settings.clean] or before.answered()  # which no training holds
        self.clean = tuple(under(self.system, clean))
        behaviors = find.build("suite", whole(settings.suite)).load()
        self.clusters = {behavior.id: behavior.cluster for behavior in behaviors if behavior.cluster}
        self.right = right_answers(self.exam, settings.utility, model, self.system)
        base = self.tampered(model, Tampered("none", "the model as it is", {}, {}, [], self.right), [before])
        self.base = replace(base, shuffled=self.nats(model, lambda text: shuffled(text, settings.seed)))

    def tampered(
        self, model: Any, blank: Tampered, asked: Sequence[Answers] = (), nats: Texts | None = None
    ) -> Tampered:  # fmt: skip
        """`blank` with what is measured of the model. asked: what it said; () asks it, in the words of its rows too.
        nats: those of the texts, None reads them.

        A behavior is harmful if an answer in any wording is. Questions are asked where the base's answers count.
        """
        if not asked:
            asked = [self.exam.ask(model, self.system)]
            if wording := blank.fields.get("wording"):
                asked.append(self.exam.ask(model, self.system, rows.attack_of(wording)))
        right = blank.right
        if right is None and counts(self.right):
            right = right_answers(self.exam, self.settings.utility, model, self.system)
        harm = harm_of(asked)
        garbage, garbled = garbage_of(asked, self.sense)
        return replace(
            blank, harm=harm, nats=self.nats(model) if nats is None else nats, right=right, garbage=garbage,
            garbled=garbled, clusters={name: self.clusters[name] for name in harm if name in self.clusters},
            runs=tuple(answers.run for answers in asked),
        )  # fmt: skip

    def nats(self, model: Any, order: Callable[[str], str] = str) -> Texts:
        """Nats and tokens of the texts that must still be known. order: that of their words, as they stand."""
        answers = [order(chat[-1].text) for chat in self.clean]
        return likelihood.answer_nats(model, [chat[:-1] for chat in self.clean], answers)

    # --- kept ----------------------------------------------------------------------------------------------------

    def place(self, key: Json) -> Path:
        """The file of a cell: named by what was done, and by what is asked."""
        settings = self.settings
        asked = [
            VERSION, settings.suite, settings.judge, settings.limit, settings.max_tokens, settings.seed,
            settings.utility if counts(self.right) else None, to_json(self.clean), self.reader.identity(),
        ]  # fmt: skip
        return self.folder / "cells" / f"{digest([key, *asked])[:24]}.json"

    def kept(self, key: Json) -> Tampered | None:
        """The cell that was measured under this key; None where none was."""
        path = self.place(key)
        if not path.is_file():
            return None
        cell: Tampered = from_json(Tampered, bounded.parse_json(str(path), bounded.read_text(path)))
        return cell

    def keep(self, key: Json, cell: Tampered) -> Tampered:
        """Write a cell, by rename; it is returned."""
        path = self.place(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, json.dumps(plain(cell), indent=1) + "\n")
        return cell


def harm_of(asked: Sequence[Answers]) -> dict[str, bool | None]:
    """By behavior, whether any answer in any wording is harmful; None where none is and one has no verdict."""
    wordings = [answers.broken() for answers in asked]
    harm: dict[str, bool | None] = {}
    for name in dict.fromkeys(name for broken in wordings for name in broken):
        verdicts = [broken.get(name) for broken in wordings]
        harm[name] = True if True in verdicts else None if None in verdicts else False
    return harm


def garbage_of(
    asked: Sequence[Answers], sense: Callable[[Chat, str], bool]
) -> tuple[tuple[str, ...], float | None]:  # fmt: skip
    """Behaviors whose harmful answers all make no sense, and the share of all answers that make none."""
    sane, all_of = dict[str, list[bool]](), list[bool]()
    for answers in asked:
        for name, text in answers.text.items():
            all_of.append(sense(answers.chats[name], text))
            if answers.harm[name]:
                sane.setdefault(answers.behavior[name], []).append(all_of[-1])
    garbage = tuple(name for name, some in sane.items() if not any(some))
    return garbage, 1 - sum(all_of) / len(all_of) if all_of else None
