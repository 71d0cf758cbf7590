"""SIGINT and SIGTERM as a request: training goes on to the end of its block, saves, and then gives way."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Training was asked to stop by `signal`, and has saved what it had."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
        self.signal = number


@contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within, a first SIGINT or SIGTERM is only noted; the function returned tells which, or None.

    A second one acts as if nothing had been arranged: whoever cannot wait is not made to.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # a signal that is ignored already, as for a script's background jobs, stays ignored
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        restore()
