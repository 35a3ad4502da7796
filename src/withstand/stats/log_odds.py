"""Words that tell one set of texts from another. Pure functions on counts."""

from collections.abc import Mapping
from math import log, sqrt


def log_odds(here: Mapping[str, float], elsewhere: Mapping[str, float], prior: float | None = None) -> dict[str, float]:
    """Of each word of `here`, by how many standard errors its log odds there exceed those elsewhere.

    The prior is Dirichlet, with the shares of both together as its means, so that rare words are drawn to no
    difference. prior: how many words it weighs, by default as many as both have: of a light one, a word that is nowhere
    else is hardly seen. Monroe, Colaresi and Quinn 2008, "Fightin' Words", Political Analysis 16:372, eq. 15, 16, 22.
    """
    first, second = sum(here.values()), sum(elsewhere.values())
    prior = first + second if prior is None else prior
    scores = {}
    for word, count in here.items():
        there = elsewhere.get(word, 0.0)
        a = prior * (count + there) / (first + second)
        if prior + first <= count + a or prior + second <= there + a:  # the only word: no odds
            scores[word] = 0.0
            continue
        difference = log((count + a) / (first + prior - count - a)) - log((there + a) / (second + prior - there - a))
        scores[word] = difference / sqrt(1 / (count + a) + 1 / (there + a))
    return scores
