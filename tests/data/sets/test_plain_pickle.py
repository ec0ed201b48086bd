"""Pickles of values are read as pickle reads them; one that would do something else does nothing."""

import os
import pickle
import random
import resource
import struct

import numpy as np
import pytest

from tiny_imagenet.data.sets.plain_pickle import load_plain

DATA = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
VALUES = {"labels": [0, 255, -1, 10**20, 0.5, None, True], "names": ["é", b"\xff"], "more": ([[]], {"a": (1,)})}
# As Python 2.7 wrote the official batches, with NumPy 1: {'data': DATA, 'labels': [3, 255]}.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x04K\x06\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89T" + struct.pack("<I", DATA.size) + DATA.tobytes() + b"tbU\x06labelsq\x08](K\x03K\xffeu."
)


@pytest.fixture
def loaded(tmp_path):
    def loaded(content: bytes):
        (tmp_path / "batch").write_bytes(content)
        return load_plain(tmp_path / "batch")

    return loaded


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", "CF")
def test_values_and_arrays_come_out_as_they_went_in(loaded, protocol, order):
    found = loaded(pickle.dumps({"data": np.asarray(DATA, order=order), **VALUES}, protocol))
    np.testing.assert_array_equal(found.pop("data"), DATA, strict=True)
    assert found == VALUES


def test_what_python_2_wrote(loaded):
    found = loaded(PYTHON_2)
    np.testing.assert_array_equal(found["data"], DATA, strict=True)
    np.testing.assert_array_equal(pickle.loads(PYTHON_2, encoding="bytes")[b"data"], DATA, strict=True)
    assert found["labels"] == [3, 255]


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


def exploits(mark):
    make = f"import os; os.mkdir({str(mark)!r})"
    name = str(mark).encode()
    argument = b"X" + struct.pack("<I", len(name)) + name
    array = pickle.dumps({"data": DATA}, 2)
    return {
        "a function of the system": pickle.dumps({"data": Call(os.mkdir, str(mark))}),
        "exec": pickle.dumps({"data": Call(exec, make)}),
        "eval in a key": pickle.dumps({Call(eval, f"__import__('os').mkdir({str(mark)!r})"): 1}, 2),
        "in the state of an array": array.replace(b"\x89", b"cposix\nmkdir\n" + argument + b"\x85R", 1),
        "the oldest way": b"(dS'data'\n(S'" + name + b"'\niposix\nmkdir\ns.",
        "an object": b"(cposix\nmkdir\n" + argument + b"o.",
        "a class of NumPy": pickle.dumps({"data": np.random.default_rng(0)}),
        "numpy.load": pickle.dumps({"data": Call(np.load, str(mark))}),
        "an attribute of a known module": b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.tofile\x93.",
        "a registered code": b"\x80\x02\x82\x01.",
        "a name outside": b"Pposix.mkdir\n.",
        "a change of a function": b"\x80\x02cnumpy\ndtype\n}U\x05_callcposix\nmkdir\nsb.",
        "a change of a known function": b"\x80\x02cnumpy\ndtype\nq\x00}U\x05_callh\x00sb.",
        "an array of objects": pickle.dumps({"data": np.array([Call(os.mkdir, str(mark))], object)}),
        "an array of floats": pickle.dumps({"data": np.zeros((2, 2))}),
        "an array with too few bytes": array.replace(b"K\x04K\x06\x86", b"K\x04K\x07\x86"),
        "an array of a negative size": array.replace(b"K\x04K\x06\x86", b"J\xfc\xff\xff\xffJ\xfa\xff\xff\xff\x86"),
        "a list": pickle.dumps([1]),
        "nothing": b"",
    }  # fmt: skip


@pytest.mark.parametrize("kind", exploits("x"))
def test_nothing_is_run(loaded, tmp_path, kind):
    with pytest.raises(pickle.UnpicklingError):
        loaded(exploits(tmp_path / "mark")[kind])
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("kind", ["a function of the system", "exec", "the oldest way", "an object"])
def test_the_exploits_work_on_others(tmp_path, kind):
    """Otherwise the test above would say nothing."""
    pickle.loads(exploits(tmp_path / "mark")[kind])
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b".",  # a bytearray of 64 GB
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 36) + b".",  # bytes of 64 GB
        b"\x80\x02Nr" + struct.pack("<I", (1 << 32) - 1) + b".",  # the place of a value among four billion
        b"\x80\x02" + b"(" * 10**6 + b"t" * 10**6 + b".",
    ],
)
def test_a_few_bytes_take_little_memory(loaded, content):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(pickle.UnpicklingError):
        loaded(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


def test_damage_is_told_or_does_not_matter(loaded):
    rng = random.Random(0)
    for number in range(600):
        content = bytearray(pickle.dumps({"data": DATA, **VALUES}, 2 + number % 4) if number % 5 else PYTHON_2)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            assert isinstance(loaded(bytes(content)), dict)
        except pickle.UnpicklingError as error:
            assert str(error)
