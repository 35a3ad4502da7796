"""Floating-point operations that a thread's models have done: each says what passes through it, the lane reads it."""

import threading

_now = threading.local()


def add(flops: float) -> None:
    """Count what a model is about to do, in the thread that has it do so."""
    _now.flops = (getattr(_now, "flops", None) or 0.0) + flops


def taken() -> float | None:
    """What was counted in this thread since the last call; None where nothing was: an API counts nothing."""
    flops: float | None = getattr(_now, "flops", None)
    _now.flops = None
    return flops
