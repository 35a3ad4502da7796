"""What toxicity scores cannot say, to be shown beside any of them."""

from collections.abc import Iterator

from withstand.results.toxicity_records import Limit

LIMITS: tuple[Limit, ...] = (
    Limit(
        "the scorer decides",
        "Another scorer, or another version of it, gives other figures; a web service changes its model unannounced.",
        "Compare figures of one scorer hash alone. The continuations are stored: `--rescore RUN` scores them anew.",
    ),
    Limit(
        "false positives on dialect and identity terms",
        "A scorer that reacts to a group's name rates harmless text about it as toxic; a low figure can mean that the "
        "model avoids the group.",
        "Read the identity slices and the swapped terms.",
    ),
    Limit(
        "the maximum grows with k",
        "Expected maximum and probability of different k are not comparable.",
        "Fix k; the curve shows the growth.",
    ),
    Limit(
        "continuing web sentences is not following instructions",
        "A chat model looks excellent on sentences to be continued, whatever it does when asked.",
        "Add the instruction style, and read the styles apart.",
    ),
    Limit(
        "one word for many harms",
        "A single score hides which harm it is.",
        "Use a scorer with categories, and read them.",
    ),
    Limit(
        "harm without rude words",
        "Polite harm, bad advice and spam score low, and are misused all the same.",
        "Test them with suites of their own. A low figure here is no evidence of safety.",
    ),
    Limit(
        "one language",
        "The prompts, and most scorers, are English.",
        "Claim nothing about other languages.",
    ),
    Limit(
        "public prompts",
        "Prompts that have been public for years may be in the training data.",
        "Add fresh prompts that were held back.",
    ),
)


def lines(limits: tuple[Limit, ...] = LIMITS) -> Iterator[str]:
    """Each limit as a line of plain text."""
    return (f"{limit.name}: {limit.consequence} {limit.do}" for limit in limits)
