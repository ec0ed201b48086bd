"""Reads pickles of plain values and arrays of bytes, and runs nothing that a pickle may name."""

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load_plain(path: Path) -> dict[Any, Any]:
    """A pickled dict of lists, tuples, str, bytes, numbers and, as its values, uint8 arrays.

    A str of Python 2 is bytes, unless it is a key.

    Raises:
        pickle.UnpicklingError: it names something else, or is damaged.
        OSError: it can't be read.
    """
    content = path.read_bytes()
    try:
        found = _Plain(io.BytesIO(content), encoding="bytes").load()
    except (pickle.UnpicklingError, MemoryError, RecursionError) as error:
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from None
    # A damaged pickle raises what its broken instructions raise: EOFError, KeyError, IndexError, TypeError and more.
    except Exception as error:
        raise pickle.UnpicklingError(f"it is damaged ({type(error).__name__}: {error})") from None
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"it has a {type(found).__name__}, not a dict")
    return {
        key.decode(errors="replace") if isinstance(key, bytes) else key: getattr(value, "array", value)
        for key, value in found.items()
    }


# Not the unpickler in C, which takes memory for as many values as a pickle says that it has.
class _Plain(pickle._Unpickler):
    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8}

    def find_class(self, module: str, name: str) -> "_Known":
        if (call := KNOWN.get((module, name))) is None:
            raise pickle.UnpicklingError(f"it would run {module}.{name}, so it holds more than plain values")
        return _Known(call)


class _Known:
    """A function that a pickle may call, and not change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it would change a function")


# Arrays are made here from their bytes, since NumPy's own functions trust what they are given.


class _Bytes:
    """The type of an array, which must be that of bytes."""

    __slots__ = ()

    def __init__(self, name: Any, *options: Any) -> None:
        if name not in ("u1", "|u1", b"u1", b"|u1"):
            raise pickle.UnpicklingError(f"it has an array of {name!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Alignment and byte order, which bytes have none of."""


class _Array:
    """What `_reconstruct` makes: an array without content, which follows."""

    __slots__ = ("array",)

    def __init__(self, *options: Any) -> None:
        self.array = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        self.array = _array(content, kind, shape, "F" if by_columns else "C")


def _array(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(kind, _Bytes) or not isinstance(content, bytes) or len(content) != math.prod(shape):
        raise pickle.UnpicklingError("it has an array whose bytes do not fit its shape")
    return np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes, as Python 3 pickles them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has text in {encoding!r}")
    return text.encode("latin1")


# NumPy 2 renamed its core.
KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _Bytes,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
}
