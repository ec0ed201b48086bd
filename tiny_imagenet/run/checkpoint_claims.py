"""What a checkpoint file says of its own size, compared with the file: torch takes memory for whatever it says."""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

from tiny_imagenet.files import size_text

LARGEST_PICKLE = 32 << 20  # bytes, without the tensors; a run's has less than one of them

MOST_DIMENSIONS = 64  # of a tensor; torch has no more

# Bytes of a value, by the name of the type of storage that torch.save writes; untyped storages hold bytes.
VALUE_BYTES = {
    **dict.fromkeys(("Untyped", "Byte", "Char", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
REBUILD = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"}
# Functions that take as much memory as a number says. torch.save calls none of them for plain values and tensors.
ALLOCATE = {"bytearray", "_rebuild_qtensor", "_rebuild_wrapper_subclass"}


class Implausible(ValueError):
    """A checkpoint says that it is larger than it is."""


def require_plausible(path: Path) -> None:
    """Read a checkpoint as its pickle says, without torch and without its tensors.

    Raises:
        Implausible: it would take more memory than the file has bytes.
        Exception: of any kind, where the file is damaged or no zip file.
    """
    with zipfile.ZipFile(path) as archive:
        # By their names below the archive's own folder.
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise Implausible("it has two entries of one name")
        # torch stores without compression. It would read beyond an entry that says it is longer than it is, and nothing
        # of one that says it is a folder (0x10), without an error.
        if any(entry.file_size != entry.compress_size or entry.external_attr & 0x10 for entry in entries.values()):
            raise Implausible("an entry is longer or shorter than it says")
        if sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
            raise Implausible("its entries are longer than the file")
        if (size := entries["data.pkl"].file_size) > LARGEST_PICKLE:
            raise Implausible(f"it has {size_text(size)} beside its tensors")
        sizes = {name: entry.file_size for name, entry in entries.items()}
        _Claims(archive.read(entries["data.pkl"]), sizes).load()


# Not the unpickler in C, which takes memory for as many values as a pickle says that it has.
class _Claims(pickle._Unpickler):
    """Reads a pickle with stand-ins for all that is neither a plain value nor a container."""

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8}

    def __init__(self, content: bytes, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._sizes = sizes  # of the archive's entries, in bytes

    def find_class(self, module: str, name: str) -> Any:
        if name in ALLOCATE or (module.startswith("torch") and name.endswith("Tensor")):
            raise Implausible(f"it has a {name}, which may take any memory")
        if name.endswith("Storage"):
            return name
        return _rebuild if name in REBUILD else _StandIn

    def persistent_load(self, pid: tuple[Any, ...]) -> int:
        """The bytes of a storage, which must be in the archive."""
        _, kind, key, _, values = pid
        size = values * VALUE_BYTES[kind.removesuffix("Storage")]
        if not 0 <= size <= self._sizes[f"data/{key}"]:
            raise Implausible(
                f"it has {size_text(self._sizes[f'data/{key}'])} of a tensor that needs {size_text(size)}"
            )
        return size


class _StandIn(dict):
    """In place of an object of any class; a dict, since an OrderedDict is filled as one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    __hash__ = object.__hash__

    def __setstate__(self, state: Any) -> None:
        """Nothing: what an object holds was read already."""

    def extend(self, items: Any) -> None:
        """Nothing either: an object may be filled as a list."""


def _rebuild(size: int, offset: int, shape: tuple[int, ...], *others: Any) -> _StandIn:
    if len(shape) > MOST_DIMENSIONS or math.prod(shape) > size:
        raise Implausible(f"it has a tensor of more values than its {size_text(size)}")
    return _StandIn()
