"""Signals that end a training, sent to this process."""

import os
import signal

import pytest

from tiny_imagenet.run.stop_signals import Interrupted, StopSignals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def before():
    """The handlers of this process, restored after the test."""
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    yield handlers
    for number, handler in handlers.items():
        signal.signal(number, handler)


def handlers():
    return {number: signal.getsignal(number) for number in NUMBERS}


@pytest.mark.parametrize("speaks", [True, False])
def test_a_signal_is_noted_and_the_first_one_is_said(capfd, speaks):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signals = StopSignals()
    signals.take(speaks)
    assert signals.received is None
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
        assert signals.received == number
    assert capfd.readouterr().err == ("SIGTERM: saving at the end of this step. Ctrl-C again exits at once.\n" * speaks)


def test_handlers_are_given_back(before):
    signals = StopSignals()
    signals.take(speaks=True)
    assert handlers() != before
    signals.give_back()
    assert handlers() == before


@pytest.mark.parametrize("ignored", [True, False])
def test_a_closed_terminal_is_noted_unless_that_is_ignored(ignored):
    """As by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    signals = StopSignals()
    signals.take(speaks=False)
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.received == (None if ignored else signal.SIGHUP)


@pytest.mark.parametrize(
    ("received", "launched", "name", "status"),
    [(2, False, "SIGINT", 130), (15, False, "SIGTERM", 143), (15, True, "SIGTERM", 0), (None, False, "SIGTERM", 143)],
)
def test_an_interruption_has_the_status_of_its_signal_and_further_ones_are_ignored(
    before, received, launched, name, status
):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before_training = handlers()
    signals = StopSignals()
    signals.take(speaks=False)
    signals.received = received
    with pytest.raises(Interrupted, match=name) as caught:
        signals.interrupt(launched)
    assert caught.value.status == status
    assert set(handlers().values()) == {signal.SIG_IGN}
    caught.value.restore_handlers()
    assert handlers() == before_training
