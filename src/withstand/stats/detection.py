"""Telling two kinds of items apart: sensitivity without the bias to say yes. Pure functions. By scores: `stats.roc`.

Green and Swets 1966, Signal Detection Theory and Psychophysics; 0.5 is added to the counts and 1 to the totals, as
Hautus 1995, Behavior Research Methods, Instruments, & Computers 27:46, so that both are finite.
"""

from statistics import NormalDist


def sensitivity(hits: float, signals: float, alarms: float, others: float) -> tuple[float, float]:
    """d' = z(H) - z(F) and the criterion c = -(z(H) + z(F)) / 2, in standard deviations.

    hits of so many signals, false alarms of so many others. d' 0 is chance; c above 0 says "signal" too rarely.
    Raises `ValueError` for counts outside of their totals, or a total of 0.
    """
    if not (0 <= hits <= signals and 0 <= alarms <= others and signals and others):
        raise ValueError(f"{hits} of {signals} and {alarms} of {others} are no counts")
    z = NormalDist().inv_cdf
    hit, alarm = z((hits + 0.5) / (signals + 1)), z((alarms + 0.5) / (others + 1))
    return hit - alarm, -(hit + alarm) / 2
