"""Logistic regression with a penalty, for the recipes that fit a judge: Newton's steps, in numpy alone."""

from typing import Any

import numpy as np

STEPS = 50


def fit(columns: Any, labels: Any, weight: Any, penalty: float) -> tuple[float, Any]:
    """Intercept and weights of the columns. penalty: of half the squared standardized weights, against the sum of the
    rows' log losses; `weight` is that of each row."""
    mean, spread = columns.mean(0), columns.std(0)
    spread = np.where(spread == 0, 1, spread)
    design = np.column_stack([np.ones(len(columns)), (columns - mean) / spread])
    penalties = np.diag([0.0] + [penalty] * columns.shape[1])
    solution = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ solution, -500, 500)))
        slope = design.T @ (weight * (p - labels)) + penalties @ solution
        step = np.linalg.solve((design.T * (weight * p * (1 - p))) @ design + penalties, slope)
        before = _loss(design, labels, weight, penalties, solution)
        while abs(step).max() >= 1e-10 and _loss(design, labels, weight, penalties, solution - step) > before:
            step = step / 2  # a whole step overshoots where the rows are nearly separable
        solution = solution - step
        if abs(step).max() < 1e-10:
            break
    weights = solution[1:] / spread
    return float(solution[0] - weights @ mean), weights


def predicted(model: tuple[float, Any], columns: Any) -> Any:
    """The chance of each row, in (0, 1)."""
    return 1 / (1 + np.exp(-np.clip(model[0] + columns @ model[1], -500, 500)))


def _loss(design: Any, labels: Any, weight: Any, penalties: Any, solution: Any) -> float:
    pull = design @ solution
    return float(weight @ (np.logaddexp(0, pull) - labels * pull) + solution @ penalties @ solution / 2)
