"""How the load of a shared machine is read."""

import time

import pytest

from bench import load

STAT = "cpu  100 0 50 800 20 0 30 0 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def test_ticks_counts_waiting_for_disks_as_idle():
    assert load.ticks(STAT) == (180, 1000)


@pytest.mark.parametrize(
    ("busy", "waits"),
    [([0, 5], False), ([0, 90, 95, 97], True), ([0, 90, 180, 270, 360], True)],
)
def test_waiting_ends_with_idle_cores_or_with_the_patience(busy, waits, monkeypatch):
    readings = iter([(value, 100 * i) for i, value in enumerate(busy)])
    last = [None]

    def read():
        last[0] = next(readings, last[0])
        return last[0]

    monkeypatch.setattr(load, "read", read)
    monkeypatch.setattr(load, "SAMPLE_SECONDS", 0.001)
    waited = load.wait_until_idle(10)
    assert 0 < waited < 5
    assert (last[0][1] > 100) == waits


def test_nobody_waits_without_patience_or_where_the_system_tells_nothing(monkeypatch):
    monkeypatch.setattr(load, "read", lambda: None)
    monkeypatch.setattr(load, "SAMPLE_SECONDS", 0.001)
    assert load.wait_until_idle(0) < 0.1
    assert load.wait_until_idle(60) < 5
    assert load.Others().share() is None


def test_own_work_is_not_the_others(monkeypatch):
    readings = iter([(0, 0), (100, 400)])
    own = iter([0.0, 0.4])
    monkeypatch.setattr(load, "read", lambda: next(readings))
    monkeypatch.setattr(load.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(time, "process_time", lambda: next(own))
    assert load.Others().share() == 0.15
