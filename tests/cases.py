"""Many cheap cases in one test: pytest takes longer to collect and report each of thousands than to run it."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def walk_cases(
    names: str | tuple[str, ...], cases: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `pytest.mark.parametrize`, but one test: it goes through all cases, then shows each that failed.

    For cases that leave no trace: they share the fixtures of the test, and none may be skipped.
    """
    fields = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    values = [dict(zip(fields, case if len(fields) > 1 else (case,), strict=True)) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def walk(*args: Any, **fixtures: Any) -> None:
            assert values, "there is no case"
            failures: list[BaseException] = []
            for case in values:
                try:
                    test(*args, **fixtures, **case)
                except (Exception, BaseExceptionGroup, pytest.fail.Exception) as error:  # noqa: BLE001 - all are raised below
                    error.add_note(f"the case: {case!r}")
                    failures.append(error)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(values)} cases failed", failures)

        signature = inspect.signature(test)
        rest = [parameter for name, parameter in signature.parameters.items() if name not in fields]
        assert len(rest) == len(signature.parameters) - len(fields), f"{test.__name__} does not take all of {fields}"
        walk.__signature__ = signature.replace(parameters=rest)
        return walk

    return decorate
