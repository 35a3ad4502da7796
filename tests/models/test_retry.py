"""Back-off, Retry-After and the errors at the end."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from withstand.core import AskError
from withstand.models import _retry
from withstand.models._retry import Transient, retrying, seconds_asked


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    return slept


class Failing:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_waits_double_up_to_the_cap_with_jitter(waits: list[float]) -> None:
    assert retrying(Failing(*[Transient("busy")] * 8), 9, "it", "") == "answer"
    for wait, doubled in zip(waits, [0.5, 1, 2, 4, 8, 16, 30, 30], strict=True):
        assert doubled <= wait <= doubled + _retry.FIRST_WAIT
    assert len(set(waits)) == 8


def test_retry_after_is_waited_for(waits: list[float]) -> None:
    assert retrying(Failing(Transient("busy", 60.0)), 2, "it", "") == "answer"
    assert 60 <= waits[0] <= 60.5


def test_a_long_retry_after_ends_it_at_once(waits: list[float]) -> None:
    call = Failing(Transient("quota per day", 3600.0))
    with pytest.raises(AskError, match="it asks for a wait of 3600 s, which is above 120 s: quota per day"):
        retrying(call, 6, "it", "")
    assert (call.calls, waits) == (1, [])


def test_used_up_tries_name_the_last_reason_and_its_cause(waits: list[float]) -> None:
    cause = OSError("cable")
    last = Transient("second")
    last.__cause__ = cause
    with pytest.raises(AskError, match="it was asked 2 times without an answer; last: second") as caught:
        retrying(Failing(Transient("first"), last), 2, "it", "look at the cable")
    assert caught.value.hint == "look at the cable"
    assert caught.value.__cause__ is cause
    assert len(waits) == 1


def test_other_errors_pass_through(waits: list[float]) -> None:
    call = Failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        retrying(call, 6, "it", "")
    assert (call.calls, waits) == (1, [])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("7", 7.0), ("1.5", 1.5), ("-3", 0.0), ("nan", 0.0), ("soon", None), ("", None)],
)
def test_retry_after_as_a_number(header: str | None, seconds: float | None) -> None:
    assert seconds_asked(header) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime.now(UTC)
    assert seconds_asked(format_datetime(now + timedelta(seconds=90), usegmt=True)) == pytest.approx(89, abs=2)
    assert seconds_asked(format_datetime(now.replace(tzinfo=None) + timedelta(seconds=90))) == pytest.approx(89, abs=2)
    assert seconds_asked(format_datetime(now - timedelta(days=1))) == 0.0
