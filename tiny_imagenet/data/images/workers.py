"""Processes that decode image files, and that can be ended: a file that takes too long costs only itself.

A file may keep the C code of a decoder busy for hours, where neither a thread nor a signal handler of Python's can stop
it. So the kernel ends a process that has computed for too long on one file, and another takes its place.
"""

import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from tiny_imagenet.data.images.limits import time_limit
from tiny_imagenet.run.stop_signals import STOPPING, signals_held

# Forked processes start at once and share the parent's memory, and they use only Pillow and NumPy. Outside Linux,
# forking is unsafe or does not exist.
START = "fork" if sys.platform == "linux" else "spawn"
LIMITED = hasattr(signal, "setitimer")  # not on Windows

Begin = Callable[[int | None], None]
# Returns the result of a task. Its arguments are the task, the places of its files that take too long, and a function
# to call with the place of each file before it is decoded, and with None after the last one.
Work = Callable[[Any, frozenset[int], Begin], Any]


class KilledError(Exception):
    """A process was killed, perhaps because memory ran out."""


class Workers:
    """Processes that do the same work for many tasks. They end with `close`, or when nobody refers to them."""

    def __init__(self, work: Work, number: int) -> None:
        self._new = (work, time_limit())
        self._workers: list[_Worker] = []
        self._most = number
        self.close = weakref.finalize(self, _end, self._workers, os.getpid())

    def results(self, tasks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yield the place of each task and its result, as soon as there is one.

        Raises:
            KilledError: a process was killed.
            Exception: what the work raised.
        """
        waiting = deque(enumerate(tasks))
        try:
            while waiting or any(worker.task for worker in self._workers):
                while len(self._workers) < min(self._most, len(waiting)):
                    self._workers.append(_Worker(*self._new))
                for worker in self._workers:
                    if waiting and not worker.task:
                        worker.give(*waiting.popleft())
                busy = {worker.connection: worker for worker in self._workers if worker.task}
                for connection in wait(busy):
                    worker = busy[connection]
                    try:
                        error, result = connection.recv()
                    except (EOFError, OSError):
                        self._replace(worker)
                        continue
                    if error:
                        raise error
                    (place, *_), worker.task = worker.task, None
                    yield place, result
        except BaseException:
            _end(self._workers, os.getpid())
            raise

    def _replace(self, worker: "_Worker") -> None:
        """Let another process do the task of a dead one, without the file that it took too long for."""
        place, task, late = worker.task
        self._workers.remove(worker)
        if not worker.was_too_slow():
            raise KilledError
        another = _Worker(*self._new)
        self._workers.append(another)
        another.give(place, task, late | {worker.file.value})


class _Worker:
    """A process, and what it does: `task` is the place, the task and its files that take too long; None while idle."""

    def __init__(self, work: Work, seconds: int) -> None:
        context = multiprocessing.get_context(START)
        self.connection, theirs = context.Pipe()
        self.file = context.RawValue("q", -1)  # the place of the file that is decoded now
        self.task: tuple[int, Any, frozenset[int]] | None = None
        self.process = context.Process(target=_serve, args=(work, seconds, theirs, self.file), daemon=True)
        with signals_held():  # until it has its own handlers
            self.process.start()
        theirs.close()

    def give(self, place: int, task: Any, late: frozenset[int] = frozenset()) -> None:
        self.task = (place, task, late)
        try:
            self.connection.send((task, late))
        except OSError:
            raise KilledError from None

    def was_too_slow(self) -> bool:
        self.process.join()
        return LIMITED and self.process.exitcode == -signal.SIGPROF and self.file.value >= 0


def _end(workers: list[_Worker], parent: int) -> None:
    if os.getpid() != parent:  # in a process that was forked later
        return
    for worker in workers:
        worker.process.kill()  # a process that has just started may still have this one's handler of SIGTERM
    for worker in workers:
        worker.process.join()
        worker.connection.close()
    workers.clear()


def _serve(work: Work, seconds: int, connection: Connection, file: Any) -> None:
    # Ctrl-C reaches the whole process group; the parent handles it and stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if LIMITED:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    def begin(place: int | None) -> None:
        file.value = -1 if place is None else place
        if LIMITED:
            signal.setitimer(signal.ITIMER_PROF, 0 if place is None else seconds)

    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            task, late = connection.recv()
            try:
                answer = (None, work(task, late, begin))
            except Exception as error:
                begin(None)
                answer = (error, None)
            connection.send(answer)


def _exit_with_parent() -> None:
    # A killed parent can't stop its workers, which would wait for tasks forever.
    multiprocessing.parent_process().join()
    os._exit(1)
