"""Signals, sent to this very process."""

import os
import signal

import pytest

from ebpfcheck.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_noted_and_the_second_counts(number: signal.Signals) -> None:
    usual = signal.signal(number, signal.default_int_handler)
    try:
        with Interruption() as interruption:
            interruption.watch()
            interruption.watch()
            assert not interruption.has_come()
            os.kill(os.getpid(), number)
            assert interruption.has_come()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, usual)


def test_before_it_watches_and_after_the_block_signals_count_as_ever() -> None:
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        interruption.watch()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not interruption.has_come()


def test_what_is_ignored_stays_ignored() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            interruption.watch()
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.has_come()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
