"""An exported file in a process of its own, in which nothing of this project runs but this file."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tiny_imagenet.errors import UserError
from tiny_imagenet.export.packages import INPUT

Run = Callable[[np.ndarray], np.ndarray]


class LoadedFile:
    """A file in a fresh process; a context manager, which ends the process.

    Args:
        format: onnx or torch_export.
        threads: that it computes with.
    """

    def __init__(self, path: Path, format: str, threads: int) -> None:
        fresh = multiprocessing.get_context("spawn")
        self._connection, other_end = fresh.Pipe()
        self._process = fresh.Process(target=_serve, args=(other_end, str(path), format, threads), daemon=True)
        self._process.start()
        other_end.close()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The probabilities, float32 [B, C], of uint8 images [B, 3, H, W].

        Raises:
            UserError: the file can't be loaded or run.
        """
        return self._ask(images, None)

    def rate(self, images: np.ndarray, seconds: float) -> float:
        """Images/s over at least so many seconds, the same batch each time."""
        return self._ask(images, seconds)

    def _ask(self, images: np.ndarray, seconds: float | None) -> Any:
        try:
            self._connection.send((images, seconds))
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise UserError("The file was not kept: the process that ran it died, perhaps of its memory.") from None
        if isinstance(answer, str):
            raise UserError(f"The file was not kept: it can't be run. ({answer})")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()  # The process ends when it finds nobody at the other end.
        self._process.join(timeout=10)
        self._process.kill()


def images_per_second(run: Run, images: np.ndarray, seconds: float) -> float:
    """Images/s of a function over at least so many seconds, the same batch each time."""
    batches, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds or not batches:
        run(images)
        batches += 1
    return batches * len(images) / taken


def _serve(connection: Connection, path: str, format: str, threads: int) -> None:
    """Answer until the other process closes its end or dies; an error is answered by its text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process.
    run = None
    while True:
        try:
            images, seconds = connection.recv()
        except EOFError:
            return
        try:
            run = run or _load(path, format, threads)
            answer = run(images) if seconds is None else images_per_second(run, images, seconds)
        except Exception as error:
            answer = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        connection.send(answer)


def _load(path: str, format: str, threads: int) -> Run:
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {INPUT: images})[0]
    import torch

    torch.set_num_threads(threads)
    with open(path, "rb") as file:  # by its name, one that does not end in .pt2 would be refused
        network = torch.export.load(file).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return run
