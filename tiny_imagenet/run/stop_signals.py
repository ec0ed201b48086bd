"""Signals that end a training: noted when they come, and acted upon at the end of the step."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

# A closed terminal sends SIGHUP, except on Windows.
STOPPING = {signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])}


@contextmanager
def signals_held() -> Iterator[None]:
    """Block the signals of STOPPING in this thread, and in processes that it starts until they unblock them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupted(Exception):
    """A signal ended the training, after its state was saved; `status` is the exit status of the process.

    Further signals are ignored, since the process is about to exit, until `restore_handlers`.
    """

    def __init__(self, signum: int, status: int, handlers: dict[int, Any]) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status, self.handlers = status, handlers

    def restore_handlers(self) -> None:
        """Handle signals as before the training."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


class StopSignals:
    """Notes SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP of a closed terminal, from `take` to `give_back`.

    received: the last of them, None before the first. A SIGINT after another signal exits at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._speaks = True
        self._handlers: dict[int, Any] = {}

    def take(self, speaks: bool) -> None:
        """Note signals from now on.

        Args:
            speaks: whether to say so of the first one; of several processes, one does.
        """
        self._speaks = speaks
        self._handlers = {number: signal.signal(number, self._note) for number in _numbers()}

    def give_back(self) -> None:
        """Handle signals as before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def interrupt(self, launched: bool) -> NoReturn:
        """Raise Interrupted for the signal that was received, here or by another process, and ignore further ones.

        Args:
            launched: whether this process was launched by another one, which would be killed by a status other than 0.
        """
        number = self.received or signal.SIGTERM
        handlers, self._handlers = self._handlers, {}
        for each in handlers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number, 0 if launched else 128 + number, handlers)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            os._exit(128 + number)  # Nothing is half written: files are renamed into place.
        if self.received is None and self._speaks:
            # Neither logging nor print may be called here, where one of them may have been interrupted.
            text = f"{signal.Signals(number).name}: saving at the end of this step. Ctrl-C again exits at once.\n"
            with suppress(OSError):
                os.write(2, text.encode())
        self.received = number


def _numbers() -> list[int]:
    always = (signal.SIGINT, signal.SIGTERM)  # and SIGHUP, unless nohup ignores it
    return [number for number in STOPPING if number in always or signal.getsignal(number) is not signal.SIG_IGN]
