"""The card of a defense that blocks prompts: `withstand show defense NAME --card`.

It is measured on harmful prompts and benign ones in the same words, as `withstand guard eval` does. A defense that asks
a model is not asked: the card takes what such an evaluation left in the store, and else names its command.
"""

from shlex import quote

from withstand.core import SpecError
from withstand.core.guarding import written_text
from withstand.core.text import count
from withstand.registry import find
from withstand.registry.grammar import parse
from withstand.results.card import Make, asks_nothing, card_of, documented
from withstand.results.card_figures import figures_of
from withstand.results.card_records import Card, CardText, Measured
from withstand.results.guard_scores import GuardScore, flags, scores_of, stored_scores
from withstand.results.guard_texts import GuardTexts, Wanted, prompts
from withstand.results.guards import Guard, guards_named
from withstand.results.labels import fitted_texts
from withstand.runner.asking import Asking
from withstand.store.store import Store

BY = "by their suite: what it asks for is harmful, and its twin is not"


def guard_card(spec: str, wanted: Wanted, target: str, store: Store, make: Make) -> Card:
    """The card of a defense on the prompts that are wanted. target: the model behind it, for one that asks that.

    Raises `SpecError` for a defense that blocks no prompts.
    """
    docstring = documented("defense", spec).docstring
    [guard] = guards_named([spec], "prompt", target)
    texts = prompts(wanted, store)
    component = find.build("defense", parse(spec))
    alone = asks_nothing(component) and not guard.models
    scores = scores_of(guard, texts.texts, Asking(store)) if alone else stored_scores(guard, texts.texts, store)
    threshold = _threshold(guard, component)
    command = " ".join(["withstand guard eval", quote(spec), *_options(wanted, target)])
    if None in scores:
        have = sum(score is not None for score in scores)
        why = f"it works with a model, and the store has what it says of {have:,} of {count(len(scores), 'prompt')}"
        measured = Measured(texts.source, BY, texts.notes, None, why, command)
    else:
        measured = _figures(guard, texts, [score for score in scores if score], threshold, make, command)
    return card_of(
        "defense", spec, docstring, component, measured, make, "prompts, before the model answers",
        "the prompt asks for what it should not", (), threshold,
    )  # fmt: skip


def _options(wanted: Wanted, target: str) -> list[str]:
    given = [("--suite", suite) for suite in wanted.suites] + [("--attack", attack) for attack in wanted.attacks]
    given += [("--benign", wanted.benign)] * bool(wanted.benign) + [("--target", target)] * bool(target)
    return [word for flag, value in given for word in (flag, quote(value))]


def _threshold(guard: Guard, component: object) -> float | None:
    """The score from which on it blocks; None where its own label says it. Raises `SpecError` where nothing does."""
    if guard.own is not None or guard.is_judge or not guard.adjustable:
        return guard.own
    default: float | None = getattr(component, "threshold", None)
    if default is None:
        hint = f"`withstand guard threshold {guard.label} --benign SUITE` computes one"
        raise SpecError(f"{guard.label} has no threshold: it blocks nowhere", hint=hint)
    return default


def _figures(
    guard: Guard, texts: GuardTexts, scores: list[GuardScore], threshold: float | None, make: Make, command: str
) -> Measured:
    read = [
        CardText(
            written_text(text.chat), text.harmful, flags(guard, score, threshold), score.score, text.cluster,
            text.category,
        )
        for text, score in zip(texts.texts, scores, strict=True)
    ]  # fmt: skip
    if all(text.flagged is None for text in read):
        why = f"it could say of none of the {count(len(read), 'prompt')}"
        return Measured(texts.source, BY, texts.notes, None, why, command)
    figures = figures_of(read, threshold, make.identities, chances=guard.is_judge)
    own = fitted_texts(guard.component, (text.text for text in read))
    warning = f"It was fitted to {own:,} of these {count(len(read), 'prompt')}: the figures flatter it." if own else ""
    return Measured(texts.source, BY, texts.notes, figures, warning=warning)
