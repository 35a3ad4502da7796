"""The special functions beside exact arithmetic and beside scipy, over wide grids with their tails and extremes."""

import ast
import itertools
import math
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import walk_cases
from withstand.stats import special

SRC = Path(special.__file__).parent.parent
CHANCES = (0.0, 1e-12, 1e-5, 0.025, 0.3, 0.5, 0.7, 0.999, 1 - 1e-12, 1.0)


def exact(n, p, step=1):
    """The binomial distribution in whole numbers, divided at last: pmf, cdf and sf for every `step`th k from 0 to n."""
    top, bottom = p.as_integer_ratio()
    weights = [math.comb(n, k) * top**k * (bottom - top) ** (n - k) for k in range(n + 1)]
    below, whole = [*itertools.accumulate(weights)], bottom**n
    with localcontext() as context:
        context.prec, context.Emin = 30, -1_000_000
        return [[Decimal(w) / whole for w in column[::step]] for column in (weights, below, [whole - b for b in below])]


def close(value, true):
    """Within 3e-13 of a chance above 1e-100, within 1e-12 below; anything where a float has no digits left."""
    return abs(Decimal(float(value)) - true) <= max(
        true * Decimal("3e-13" if true > 1e-100 else "1e-12"), Decimal("1e-300")
    )


@walk_cases("n", [0, 1, 2, 7, 40, 150])
@walk_cases("p", CHANCES)
def test_the_binomial_is_exact_to_12_digits(n, p):
    k = np.arange(n + 1)
    for name, column in zip(("pmf", "cdf", "sf"), exact(n, p), strict=True):
        values = getattr(special, f"binomial_{name}")(k, n, p)
        assert all(close(value, true) for value, true in zip(values, column, strict=True))


@pytest.mark.parametrize("p", [1 / 512, 0.25, 0.5])
def test_the_binomial_of_1500_is_exact_in_both_tails(p):
    k = np.arange(0, 1_501, 50)
    for name, column in zip(("pmf", "cdf", "sf"), exact(1_500, p, 50), strict=True):
        values = getattr(special, f"binomial_{name}")(k, 1_500, p)
        assert all(close(value, true) for value, true in zip(values, column, strict=True))


def test_what_cannot_happen_has_no_chance():
    assert special.binomial_pmf([-1, 6], 5, 0.5).tolist() == [0, 0]
    assert special.binomial_cdf([-1, 5, 6], 5, 0.5).tolist() == [0, 1, 1]
    assert special.binomial_sf([-1, 5, 6], 5, 0.5).tolist() == [1, 0, 0]
    assert special.binomial_pmf([0, 5], 5, [0.0, 1.0]).tolist() == [1, 1]
    assert special.binomial_pmf(np.arange(3)[:, None], np.arange(4), 0.5).shape == (3, 4)
    assert special.binomial_cdf([], 3, 0.5).shape == (0,)


@settings(deadline=None)
@given(
    n=st.integers(0, 1_000_000), p=st.floats(1e-12, 1 - 1e-12), away=st.floats(-8, 8), whole=st.integers(-2, 2)
)  # fmt: skip
def test_the_binomial_is_scipys(n, p, away, whole):
    k = min(n + 1, max(-1, round(n * p + away * math.sqrt(n * p * (1 - p))) + whole))
    for name in ("pmf", "cdf", "sf"):
        ours, theirs = getattr(special, f"binomial_{name}")(k, n, p), getattr(scipy.stats.binom, name)(k, n, p)
        assert float(ours) == pytest.approx(float(theirs), rel=1e-10, abs=1e-300)


@settings(deadline=None)
@given(q=st.floats(1e-49, 1 - 1e-10), df=st.floats(1, 1e8))
def test_the_t_quantile_is_scipys(q, df):
    ours, theirs = special.t_quantile(q, df), float(scipy.stats.t.ppf(q, df))
    near_the_middle = 1e-14  # where the quantile is 0, its error is that of a chance near 0.5
    assert ours == pytest.approx(theirs, rel=1e-12, abs=near_the_middle)


def test_the_t_quantile_by_hand():
    assert special.t_quantile(0.975, 1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-14)  # Cauchy's
    assert special.t_quantile(0.95, 2) == pytest.approx(0.9 * math.sqrt(1 / (2 * 0.95 * 0.05)), rel=1e-14)
    tails = special.t_tail([-1.0, 0.0, 1e-9, 1.0, 1e200], 1)
    assert tails == pytest.approx([0.75, 0.5, 0.5 - math.atan(1e-9) / math.pi, 0.25, 0.0], rel=1e-14, abs=1e-100)
    assert special.t_quantile(0.5, 7) == 0
    assert special.t_quantile(0.25, 7) == -special.t_quantile(0.75, 7)
    for q, df in ((0, 3), (1, 3), (math.nan, 3), (0.9, 0.5)):
        with pytest.raises(ValueError, match="must lie in"):
            special.t_quantile(q, df)


@settings(deadline=None)
@given(a=st.floats(1e-5, 400), b=st.floats(1e-5, 400))
def test_log_beta_is_scipys(a, b):
    assert special.log_beta(a, b) == pytest.approx(float(scipy.special.betaln(a, b)), rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(a=st.floats(1e-5, 1e8), m=st.integers(1, 3_000))
def test_log_beta_is_exact_for_large_arguments(a, m):
    """B(a, m) = 1/a * 1/(a + 1) * 2/(a + 2) * ... * (m - 1)/(a + m - 1)."""
    product = -math.log(a) - math.fsum(math.log1p(a / i) for i in range(1, m))
    assert special.log_beta(a, m) == special.log_beta(m, a) == pytest.approx(product, rel=1e-13, abs=1e-14)


@settings(deadline=None)
@given(level=st.floats(1e-9, 1 - 1e-15))
def test_the_kolmogorov_quantile_is_scipys(level):
    assert special.kolmogorov_quantile(level) == pytest.approx(float(scipy.special.kolmogi(1 - level)), rel=1e-8)


@settings(deadline=None)
@given(level=st.floats(0.4, 1 - 1e-15))
def test_the_kolmogorov_quantile_is_scipys_to_14_digits_where_1_minus_the_level_has_them(level):
    assert special.kolmogorov_quantile(level) == pytest.approx(float(scipy.special.kolmogi(1 - level)), rel=1e-14)


def test_the_kolmogorov_quantile_of_the_tables():
    assert special.kolmogorov_quantile(0.95) == pytest.approx(1.3580986, abs=1e-7)  # Smirnov 1948
    for level in (0, 1, math.nan):
        with pytest.raises(ValueError, match="must lie in"):
            special.kolmogorov_quantile(level)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=0, max_size=30))
def test_average_ranks_are_scipys(rows):
    values = np.array(rows, float).reshape(-1, 3)
    assert (special.average_ranks(values) == scipy.stats.rankdata(values, axis=0)).all()
    assert (special.average_ranks(values[:, 0]) == scipy.stats.rankdata(values[:, 0])).all()


def test_a_nan_has_no_rank_and_spoils_its_column_alone():
    ranks = special.average_ranks([[1.0, math.nan], [1.0, 2.0]])
    assert ranks[:, 0].tolist() == [1.5, 1.5]
    assert np.isnan(ranks[:, 1]).all()


def test_nothing_of_the_package_imports_scipy():
    for path in SRC.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "scipy" in text else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "scipy"], path
