"""How fast a server is asked, on servers simulated by events and on a clock moved by hand."""

import heapq
import random
import threading
import time

import pytest

from withstand.models import _pace
from withstand.models._pace import BURST, AdaptiveLimit, Allowance, Pace


def simulated(most, takes, refuses=10**9, seconds=60.0, noise=0.0, seed=0):
    """A server that answers after `takes(running)` seconds and refuses beyond `refuses` at once, kept busy.

    Returns the climb, answers a second over the last half, and refusals a second over it.
    """
    draw, climb, now = random.Random(seed), AdaptiveLimit(most), 0.0
    flights: list[tuple[float, bool]] = []
    answers = refusals = 0
    while now < seconds:
        while len(flights) < climb.limit:
            busy = len(flights) >= refuses
            climb.asked(now, len(flights) + 1)
            wait = 0.01 if busy else takes(len(flights) + 1) * draw.lognormvariate(0, noise)
            heapq.heappush(flights, (now + wait, busy))
        now, busy = heapq.heappop(flights)
        if busy:
            climb.refused(now, len(flights))
        else:
            climb.answered(now)
        if now > seconds / 2:
            answers, refusals = answers + (not busy), refusals + busy
    return climb, answers / seconds * 2, refusals / seconds * 2


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_server_that_bears_all_is_given_all_within_a_second(noise):
    climb, _, _ = simulated(64, lambda running: 0.25, seconds=1.5, noise=noise)
    assert climb.limit == 64
    climb, rate, _ = simulated(64, lambda running: 0.25, noise=noise)
    assert rate > 0.9 * 64 / 0.25 / (1.13 if noise else 1)  # the mean of exp(N(0, 0.5)) is 1.13


def test_no_more_than_gives_more_answers():
    """Above 24 at once, each only waits for the others: a server of 24 workers."""
    climb, rate, _ = simulated(256, lambda running: 0.25 * max(1, running / 24))
    assert rate > 0.9 * 24 / 0.25
    assert 22 <= climb.stood <= 64


def test_a_server_that_batches_is_given_more_although_each_answer_takes_longer():
    """Twice the rows take 1.4 times as long: still 1.4 times the answers a second."""
    climb, _, _ = simulated(128, lambda running: 0.1 * running**0.5)
    assert climb.limit == 128


@pytest.mark.parametrize("refuses", [1, 3, 20, 50])
def test_a_server_that_refuses_is_given_about_what_it_takes(refuses):
    climb, rate, refusals = simulated(128, lambda running: 0.2, refuses=refuses, seconds=120.0)
    assert 0.5 * refuses <= climb.limit <= max(2, 1.3 * refuses)
    assert rate > 0.6 * refuses / 0.2
    assert refusals < 0.1 * rate + 1


def rounds(climb, takes, number, now):
    for _ in range(number):
        limit = climb.limit
        for i in range(limit):
            climb.asked(now, i + 1)
        now += takes(limit)
        for _ in range(limit):
            climb.answered(now)
    return now


def test_a_server_that_becomes_busy_is_given_fewer():
    climb = AdaptiveLimit(64)
    now = rounds(climb, lambda running: 0.25, 20, 0.0)
    assert climb.limit == 64
    rounds(climb, lambda running: 2.0 * max(1, running / 8), 30, now)  # no more than 8 at once, each 8 times as long
    assert climb.limit <= 16


def test_a_server_that_becomes_slow_and_bears_as_many_as_before_keeps_them():
    climb = AdaptiveLimit(64)
    now = rounds(climb, lambda running: 0.25, 20, 0.0)
    rounds(climb, lambda running: 2.0, 30, now)
    assert climb.limit == 64


def test_an_idle_client_learns_nothing():
    climb = AdaptiveLimit(64)
    for i in range(200):
        climb.asked(float(i), 1)
        climb.answered(i + 0.5)
    assert climb.limit == 16


def test_an_allowance_by_hand():
    allowance = Allowance(600, at=100.0)  # 10 a second, of which 6 s may be saved up
    assert allowance.left == 10 * BURST
    allowance.left -= 80
    assert allowance.seconds(100.0) == pytest.approx(2.0, abs=0.01)  # 20 owed
    assert allowance.seconds(103.0) == 0.0
    assert allowance.left == pytest.approx(10)
    assert allowance.seconds(1000.0) == 0.0
    assert allowance.left == 60


def work(pace, threads, turns, hold):
    running, most = 0, 0
    lock = threading.Lock()

    def worker():
        nonlocal running, most
        for _ in range(turns):
            with pace.turn():
                with lock:
                    running += 1
                    most = max(most, running)
                time.sleep(hold)
                with lock:
                    running -= 1

    workers = [threading.Thread(target=worker) for _ in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return most


def test_connections_at_once_are_no_more_than_the_limit():
    assert work(Pace(4, rpm=0, tpm=0), threads=12, turns=5, hold=0.01) <= 4


class Hands(threading.Condition):
    """The hands of a clock, which waiting moves."""

    now = 100.0

    def wait(self, timeout=None):
        assert timeout, "waits for another turn, and there is none"
        self.now += timeout
        return True


def paced(monkeypatch, *limits):
    hands = Hands()
    monkeypatch.setattr(_pace.threading, "Condition", lambda: hands)
    pace = Pace(*limits, clock=lambda: hands.now)
    monkeypatch.undo()
    return pace, hands


def seconds_of(pace, hands, turns, tokens=0):
    start = hands.now
    for _ in range(turns):
        with pace.turn() as turn:
            turn.tokens = tokens
    return hands.now - start


def test_requests_a_minute_hold(monkeypatch):
    pace, hands = paced(monkeypatch, 8, 6_000, 0)
    assert seconds_of(pace, hands, 600) == 0.0  # six seconds' worth at once, then 100 a second
    assert seconds_of(pace, hands, 200) == pytest.approx(2.0, rel=0.15)


def test_tokens_a_minute_hold_though_they_are_known_afterwards(monkeypatch):
    pace, hands = paced(monkeypatch, 8, 0, 600_000)
    assert seconds_of(pace, hands, 120, tokens=500) == 0.0  # 60,000 at once, then 10,000 a second
    assert seconds_of(pace, hands, 40, tokens=500) == pytest.approx(2.0, rel=0.05)


def test_a_pause_holds_all_and_an_error_frees_its_place(monkeypatch):
    pace, hands = paced(monkeypatch, 2, 0, 0)
    with pytest.raises(ZeroDivisionError), pace.turn():
        raise ZeroDivisionError
    assert pace.running == 0
    with pace.turn() as turn:
        turn.busy, turn.pause = True, 0.3
    assert seconds_of(pace, hands, 1) == pytest.approx(0.3)
