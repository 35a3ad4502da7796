"""Silence of the libraries below: their progress bars and their warnings to each other."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the libraries below, nor their warnings to each other, as long as it lasts."""
    try:
        import datasets
        from transformers.utils import logging as bars
    except ModuleNotFoundError:
        yield  # the trainer says what is missing
        return
    logging: Any = bars
    ours, theirs = logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if ours:
            logging.enable_progress_bar()
        if not theirs:
            datasets.enable_progress_bars()
