"""interrupts.py: a first signal is a request, a second one is an order, and handlers are put back."""

import os
import signal

import pytest

from aevb.interrupts import SIGNALS, Interrupted, deferred

every_signal = pytest.mark.parametrize("number", SIGNALS)


@pytest.fixture(autouse=True)
def handlers():
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    signal.signal(signal.SIGINT, outside)


@every_signal
def test_a_first_signal_is_noted_and_stops_nothing(number):
    with deferred() as received:
        assert received() is None
        os.kill(os.getpid(), number)
        assert received() == number


def test_a_second_signal_acts_as_ever():
    with deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred() as received:
            os.kill(os.getpid(), signal.SIGINT)
            assert received() is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back_after_an_error():
    with pytest.raises(ZeroDivisionError), deferred():
        raise ZeroDivisionError


@every_signal
def test_the_message_names_the_signal_and_what_to_do(number):
    interruption = Interrupted(number)
    assert interruption.signal == number
    assert signal.Signals(number).name in str(interruption)
    assert "same command" in str(interruption)
