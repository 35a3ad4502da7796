"""What a filter that can be asked says of texts: kept in the store, so that the same command asks nothing twice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from withstand.core import Chat, SpecError, user
from withstand.core.text import count, series
from withstand.results.guard_scores import flags, scores_of
from withstand.results.guard_texts import GuardText
from withstand.results.guards import Guard, guards_named
from withstand.runner.asking import Asking


@dataclass(frozen=True, slots=True)
class Answers:
    """What a filter says of texts. dropped: of each text; None where it could not say, or as another version of itself.

    failed: how many it could not say anything of; why: of the first.   versions: of a service that says which it is,
    and how many texts each judged, the most frequent first.
    """

    dropped: tuple[bool | None, ...]
    failed: int
    why: str
    versions: tuple[tuple[str, int], ...]

    def notes(self) -> Iterator[str]:
        """What a reader must know of the answers."""
        if self.failed:
            yield (
                f"the filter said nothing of {count(self.failed, 'text')}: they are open, and count as kept at one end "
                "of an interval and as dropped at the other"
            )
        if len(self.versions) > 1:
            listed = series([f"{name or 'unnamed'} ({number:,})" for name, number in self.versions])
            yield f"the filter changed its version on the way: {listed}; texts of the first count, the others are open"


def filter_named(spec: str, running: bool, offline: bool = False) -> Guard:
    """The filter: a judge, or a defense that scores texts. Running text is read as a prompt, a chat by its answer.

    Raises `SpecError` for one that cannot say by itself what it drops.
    """
    [guard] = guards_named([spec], "prompt" if running else "answer", offline=offline)
    if guard.own is None and guard.adjustable and not guard.is_judge:
        hint = f"write it, as in {guard.label},threshold=..., or set one: withstand guard threshold {guard.label}"
        raise SpecError(f"the filter {guard.label} has no threshold to drop at", hint=hint)
    return guard


def answers_of(guard: Guard, chats: Sequence[Chat], asking: Asking, version: str | None = None) -> Answers | None:
    """What the filter says of chats, or of running texts; None where a cap or Ctrl-C came before its end.

    version: of a service, the one that counts; None for that which judged most.
    """
    scores = scores_of(guard, [_text(guard, number, chat) for number, chat in enumerate(chats)], asking)
    whole = [score for score in scores if score is not None]
    if len(whole) < len(scores):
        return None
    drops = [flags(guard, score, guard.own) for score in whole]
    versions = Counter(score.scored_by for score, drop in zip(whole, drops, strict=True) if drop is not None)
    listed = tuple(versions.most_common())
    counted = listed[0][0] if version is None and listed else version
    dropped = tuple(drop if score.scored_by == counted else None for score, drop in zip(whole, drops, strict=True))
    why = next((score.failed for score in whole if score.failed), "it gave no label")
    return Answers(dropped, drops.count(None), why, listed)


def _text(guard: Guard, number: int, chat: Chat) -> GuardText:
    if guard.reads == "prompt":
        return GuardText(user(chat[-1].text), False, str(number), "", "", "data")
    return GuardText(chat[:-1], False, str(number), "", "", "data", chat[-1].text)
