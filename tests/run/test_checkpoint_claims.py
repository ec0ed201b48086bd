"""Small files that say they are large, which torch would believe."""

import copy
import pickle
import resource
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from tests.helpers.checkpoints import write_empty
from tests.helpers.networks import small as network
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpoint_claims import Implausible, require_plausible
from tiny_imagenet.run.checkpoint_files import is_whole, require_checkpoint


class Call:
    """Pickled as a call of a function that torch allows."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def rewritten(path, change):
    """Change the pickle in a file that torch saved."""
    with zipfile.ZipFile(path) as archive:
        contents = {entry: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in contents.items():
            archive.writestr(entry.filename, change(content) if entry.filename.endswith("data.pkl") else content)


def longer(which):
    """Say 2**31 - 1 in place of the number of values, 12,345, of the storage (0) or of the tensor (1)."""

    def change(content):
        parts = content.split(b"M90")
        assert len(parts) == 3
        signs = [b"M90", b"M90"]
        signs[which] = b"J\xff\xff\xff\x7f"
        return parts[0] + signs[0] + parts[1] + signs[1] + parts[2]

    return change


KINDS = "float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 uint16".split()

CLAIMS = {
    "a tensor of one value, repeated": lambda: torch.ones(1).expand(10**6, 10**6),
    "bytes": lambda: Call(bytearray, 10**12),
    "a tensor without values": lambda: Call(torch.Tensor, 10**6, 10**6),
    "many dimensions": lambda: Call(
        torch._utils._rebuild_tensor_v2, torch.ones(1).untyped_storage(), 0, (1,) * 65, (1,) * 65, False, OrderedDict()
    ),
    "a quantized tensor": lambda: torch.quantize_per_tensor(torch.ones(4), 1.0, 0, torch.qint8),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_file_that_says_it_is_larger_is_not_read(tmp_path, claim):
    path = write_empty(tmp_path / "x.ckpt")
    content = torch.load(path, weights_only=True)
    torch.save(content | {"optimizer_states": [{"state": {0: {"x": CLAIMS[claim]()}}}]}, path)
    assert path.stat().st_size < 10_000
    refused_at_once(path)


@pytest.mark.parametrize(
    ("which", "why"),
    [(0, "it has 49.4 kB of a tensor that needs 8.6 GB"), (1, "it has a tensor of more values than its 49.4 kB")],
    ids=["storage", "tensor"],
)
def test_a_tensor_of_which_less_is_there_than_it_says_is_not_read(tmp_path, which, why):
    path = write_empty(tmp_path / "x.ckpt")
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": {"weight": torch.ones(12_345)}}, path)
    require_plausible(path)
    rewritten(path, longer(which))
    assert refused_at_once(path) == why


def test_a_compressed_file_is_not_read(tmp_path):
    path = write_empty(tmp_path / "x.ckpt")
    with zipfile.ZipFile(path) as archive:
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr("x/data/9", bytes(10**8))
    assert refused_at_once(path) == "an entry is longer or shorter than it says"


def test_entries_that_share_their_bytes_are_not_read(tmp_path):
    path = write_empty(tmp_path / "x.ckpt")
    torch.save(torch.load(path, weights_only=True) | {"state_dict": {"weight": torch.ones(12_345)}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(100):
            again = copy.copy(archive.getinfo("x/data/0"))
            again.filename = f"x/data/{number + 10}"
            archive.filelist.append(again)
        archive.writestr("x/end", b"")  # so that the list is written
    assert refused_at_once(path) == "its entries are longer than the file"


def test_no_memory_is_taken_for_bytes_that_are_not_there(tmp_path):
    path = write_empty(tmp_path / "x.ckpt")
    rewritten(path, lambda content: b"\x80\x05" + pickle.BYTEARRAY8 + (10**15).to_bytes(8, "little") + b".")
    with pytest.raises(UserError, match="x.ckpt is damaged or no checkpoint"):
        require_checkpoint(path, training=True)
    assert not is_whole(path)


def test_much_beside_the_tensors_is_not_read(tmp_path):
    path = write_empty(tmp_path / "x.ckpt")
    torch.save(torch.load(path, weights_only=True) | {"text": "x" * (33 << 20)}, path)
    with pytest.raises(Implausible, match=r"it has 34\.6 MB beside its tensors"):
        require_plausible(path)


def test_two_entries_of_one_name_are_not_read(tmp_path):
    path = write_empty(tmp_path / "x.ckpt")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", pickle.dumps(3))
    with pytest.raises(Implausible, match="two entries of one name"):
        require_plausible(path)


def test_what_torch_saves_is_plausible(tmp_path):
    wide = torch.arange(60.0).reshape(3, 4, 5)
    values = {
        "views": [wide.transpose(0, 2), wide[1:, ::2], wide.flatten()[7:9]],
        "types": [torch.ones(5, dtype=getattr(torch, kind)) for kind in KINDS],
        "empty": [torch.ones(0), torch.ones(3, 0), torch.tensor(3.0)],
        "shared": [wide, wide],
        "parameter": torch.nn.Parameter(wide),
        "state": network().state_dict(),
        "others": [{1: 2}, {3}, b"x", 1j, None, torch.Size([3]), torch.device("cpu"), torch.float32, 2**100, -1, 0.5],
    }  # fmt: skip
    torch.save(values, tmp_path / "x.ckpt")
    require_plausible(tmp_path / "x.ckpt")
    assert is_whole(tmp_path / "x.ckpt")


def refused_at_once(path):
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(Implausible) as caught:
        require_plausible(path)
    with pytest.raises(UserError, match="x.ckpt is damaged or no checkpoint: (its?|an entry) "):
        require_checkpoint(path, training=True)
    with pytest.raises(UserError, match=r"^weights: \S+x.ckpt could not be read \((its?|an entry) "):
        network(weights=str(path))
    assert not is_whole(path)
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB
    return str(caught.value)
