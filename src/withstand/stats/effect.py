"""An estimated difference, and what may be said of it: that it is there, that it is too small to matter, or neither."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.stats.special import t_quantile, t_tail

Conclusion: TypeAlias = Literal["lower", "higher", "equivalent", "undecided"]
MOST = 1e6
"""Degrees of freedom beyond which Student's t is the normal distribution to all digits shown."""


@dataclass(frozen=True, slots=True)
class Effect:
    """after less before, or treated less untreated. error: standard error.   df: degrees of freedom of t."""

    difference: float
    error: float
    df: float

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval."""
        reach = t_quantile((1 + level) / 2, max(1.0, min(self.df, MOST))) * self.error
        return self.difference - reach, self.difference + reach

    @property
    def p(self) -> float:
        """Of the hypothesis that there is no difference, two-sided."""
        if not self.error:
            return float(self.difference == 0)
        return 2 * float(t_tail(abs(self.difference) / self.error, max(1.0, min(self.df, MOST))))

    def conclusion(self, margin: float | None = None) -> Conclusion:
        """A difference where the interval excludes 0. "equivalent" asks for more than a large p: both one-sided tests
        reject a difference of `margin` or more (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657), that
        is, the interval at 90% lies within. Without a margin it is never said."""
        low, high = self.limits()
        if high < 0 or low > 0:
            return "lower" if high < 0 else "higher"
        if margin is not None:
            near, far = self.limits(0.9)
            if -margin < near and far < margin:
                return "equivalent"
        return "undecided"
