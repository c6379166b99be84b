"""What a run has taken, over all of its processes."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.run.clock import Clock

CPU = torch.device("cpu")


def test_a_resumed_run_adds_the_time_of_earlier_processes() -> None:
    first = Clock(CPU)
    first.seconds["calibrate"] = 5.0
    first.start -= 8
    account = first.account()
    account["memory"]["peak_device_bytes"] = 10**9
    second = Clock(CPU)
    second.add_earlier(account)
    with second("calibrate"):
        pass
    told = second.account()
    assert told["resumed"] == 1
    assert told["timing_s"]["calibrate"] == pytest.approx(5, abs=0.5)
    assert 8 <= told["timing_s"]["total"] < 20
    assert told["memory"]["peak_device_bytes"] == 10**9
    assert told["memory"]["peak_rss_bytes"] >= account["memory"]["peak_rss_bytes"]
    third = Clock(CPU)
    third.add_earlier(told)
    assert third.account()["resumed"] == 2


def test_a_phase_under_way_counts_when_the_time_is_saved() -> None:
    clock = Clock(CPU)
    with clock("evaluate"):
        clock._open[:] = [(phase, begin - 7) for phase, begin in clock._open]
        assert clock.timing()["evaluate"] == pytest.approx(7, abs=0.5)
        clock._open[:] = [(phase, begin + 7) for phase, begin in clock._open]
    assert clock.timing()["evaluate"] < 0.5


def test_the_peak_of_an_earlier_run_of_the_process_does_not_count() -> None:
    before = Clock(CPU)
    large = bytearray(2**29)
    del large
    assert before.memory()["peak_rss_bytes"] - Clock(CPU).memory()["peak_rss_bytes"] > 2**28
