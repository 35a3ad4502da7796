"""A white-box model read through a defense, and what a defense's guard said of an answer."""

from dataclasses import dataclass, replace

from withstand.core import Ask, Completion, GuardCheck, Sampling, Target, user
from withstand.core.content import from_json, to_json
from withstand.core.protocols import SeenThrough
from withstand.defenses.self_reminder import SelfReminder
from withstand.models.scripted import Scripted
from withstand.runner.flows import defended


@dataclass(frozen=True)
class Rendered:
    """A model with weights that renders a chat as its texts."""

    place: str = "here"
    gives: frozenset[str] = frozenset({"weights"})

    def render(self, chat):
        return "|".join(message.text for message in chat)

    def load(self, dtype=""):
        return f"loaded {dtype}"


def test_weights_are_read_through_the_defense_that_wraps(play):
    model, defense = Rendered(), SelfReminder(reminder="Mind.", closing="Remember.")
    bare, seen = Target(model).weights(None), Target(model, defense).weights(None)
    assert bare is model
    assert bare.render(user("Bake")) == "Bake"
    assert seen.render(user("Bake")).endswith("Mind.\n\nBake\n\nRemember.")
    assert (seen.place, seen.load("float32")) == ("here", "loaded float32")
    assert seen == SeenThrough(model, defense)
    assert hash(seen) == hash(SeenThrough(model, defense))
    assert seen != SeenThrough(model, SelfReminder())


def test_an_answer_keeps_what_its_guards_said_and_counts_what_its_defense_asked(play):
    checks = (GuardCheck("guard", "before", 0.4), GuardCheck("guard", "after", 1.5, blocked=True))
    answer = Completion(user("Bake"), "", "filtered", checks=checks, asks=2)
    assert answer.suspicion == 1.5
    assert from_json(Completion, to_json(answer)) == answer
    assert replace(answer, checks=(GuardCheck("guard", "after", failed="no form"),)).suspicion is None

    class Twice:
        asks = 2

        def answer(self, model, chats, sampling):
            yield Ask(model, chats, sampling)
            return (yield Ask(model, chats, sampling))

    played = play(defended(Ask(Target(Scripted(), Twice()), [user("a"), user("b")], Sampling())))
    assert [(answer.chat, answer.asks) for answer in played.value] == [(user("a"), 2), (user("b"), 2)]
