"""A walk through cases goes on after one that fails, shows all that failed, and never passes without a case."""

import pytest

from cases import walk_cases


def test_every_case_that_fails_is_shown_and_no_case_is_a_failure() -> None:
    seen = []

    @walk_cases("first", [1, 2])
    @walk_cases(("second", "third"), [(3, 4), (5, 6), (7, 8)])
    def check(first: int, second: int, third: int) -> None:
        seen.append((first, second, third))
        assert second != 3
        with pytest.raises(ValueError, match="seven"):
            int("seven" if second == 7 else "5")

    with pytest.raises(BaseExceptionGroup, match="2 of 2 cases failed") as shown:
        check()
    assert len(seen) == 6
    inner = shown.value.exceptions[0]
    assert isinstance(inner, BaseExceptionGroup)
    assert [type(error) for error in inner.exceptions] == [AssertionError, pytest.fail.Exception]
    assert inner.exceptions[1].__notes__ == ["the case: {'second': 5, 'third': 6}"]

    @walk_cases("text", [])
    def nothing(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(AssertionError, match="no case"):
        nothing()
