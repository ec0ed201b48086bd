"""A training that is killed while it packs, and started again."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import ROOT
from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_classes


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_real_run_is_killed_and_goes_on(tmp_path, number):
    """The signal goes to all its processes, as Ctrl-C does. 4,800 photographs of 500x375 at 224 pixels."""
    rng = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / "set" / f"c{label}").mkdir(parents=True)
    for number_of in range(12):
        small = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(tmp_path / f"{number_of}.jpg")
        for copy in range(400):
            os.link(tmp_path / f"{number_of}.jpg", tmp_path / "set" / f"c{copy % 3}" / f"{number_of}-{copy}.jpg")
    options = ["--data", "ImageFolderDataModule", f"--data.root={tmp_path / 'set'}", "--data.image_size=224",
               "--trainer.fast_dev_run=true", "--model.width=0.0625", "--model.stem=imagenet", "--data.batch_size=8",
               "--trainer.accelerator=cpu", "--data.augment=[]"]  # fmt: skip
    command = [sys.executable, str(ROOT / "training.py"), "fit", *options]
    stopped = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    packs = tmp_path / "set" / ".packed"
    while not any(path.stat().st_size for path in packs.glob(".train-224.partial-*/done.jsonl")):
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.05)
    os.killpg(stopped.pid, number)
    assert stopped.wait(60) != 0
    assert "Traceback" not in stopped.stderr.read()
    (left,) = packs.glob(".train-224.partial-*")
    assert not (packs / "train-224").exists()
    known = sum(1 for _ in (left / "done.jsonl").open())
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{27 * known:,} of 4,800 images in " in done.stdout + done.stderr
    once = pack(scan_classes(tmp_path / "set", ["c0", "c1", "c2"]), 224, tmp_path / "once")
    assert {path.name: path.read_bytes() for path in (packs / "train-224").iterdir()} == {
        path.name: path.read_bytes() for path in once.cache.iterdir()
    }
