"""How long sets of many images take to pack, to start from and to read, and how much memory: run where the package is.

    PYTHONPATH=. python results/benchmark/many_images.py FOLDER 10000 100000 1000000
    PYTHONPATH=. python results/benchmark/many_images.py FOLDER 20000 --photographs

The sets are made in FOLDER, of 500 JPEGs under many names (hard links) in 1,000 classes, and removed afterwards. Each
stage runs in a new process. Printed are seconds, and seconds of CPU, without the imports; `memory`, the highest sum of
Pss of the processes in MB; and `anonymous`, that without files.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, FILES = 1000, 500
SIDES = {False: (64, 64), True: (500, 375)}  # of an image; of a photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--photographs", action="store_true", help="of 500x375 pixels, packed at 224")
    options = parser.parse_args()
    for count in options.counts:
        root = options.folder / f"many-images-{count}"
        try:
            make(root, count, SIDES[options.photographs])
            for stage in ("pack", "read"):
                print(
                    json.dumps({"images": count} | measured(stage, root, 224 if options.photographs else 64)),
                    flush=True,
                )
            print(f"disk: {sum(path.stat().st_size for path in root.glob('set/.packed/*/*')):,} bytes", flush=True)
        finally:
            shutil.rmtree(root, ignore_errors=True)


def make(root: Path, count: int, sides: tuple[int, int]) -> None:
    """Noise of a few pixels, enlarged: as large as photographs are as JPEGs."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / "set" / f"c{label:04}").mkdir(parents=True)
    for number in range(FILES):
        noise = rng.integers(0, 256, (sides[1] // 4, sides[0] // 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(sides, Image.Resampling.BICUBIC).save(root / f"{number}.jpg", quality=90)
    for number in range(count):
        os.link(root / f"{number % FILES}.jpg", root / "set" / f"c{number % CLASSES:04}" / f"{number:07}.jpg")


def measured(stage: str, root: Path, side: int) -> dict[str, object]:
    """What a process of its own reports of a stage, and the memory of it and its children, in MB."""
    command = [sys.executable, __file__, "--stage", stage, str(root / "set"), str(side)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    memory = {"Pss": 0.0, "Pss_Anon": 0.0}
    while process.poll() is None:
        found = [pss(pid) for pid in os.listdir("/proc") if pid.isdigit() and session(pid) == process.pid]
        memory = {kind: max(most, sum(each.get(kind, 0) for each in found)) for kind, most in memory.items()}
        time.sleep(0.2)
    found = json.loads(process.stdout.read())
    return found | {"memory": round(memory["Pss"]), "anonymous": round(memory["Pss_Anon"])}


def session(pid: str) -> int | None:
    try:
        return os.getsid(int(pid))
    except ProcessLookupError:
        return None


def pss(pid: str) -> dict[str, float]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return {}
    return {name: int(kib) * 1024 / 1e6 for name, kib in re.findall(r"^(Pss\w*): +(\d+) kB", text, re.MULTILINE)}


def run(stage: str, root: str, side: int) -> None:
    """Print what the parts of a stage take, without the imports: seconds, and seconds of CPU of all processes."""
    from tiny_imagenet.data import ImageFolderDataModule

    data = ImageFolderDataModule(root, image_size=side)
    found, begin, begin_cpu = {}, time.perf_counter(), sum(os.times()[:4])

    def lap(name: str) -> None:
        nonlocal begin, begin_cpu
        found[name] = [round(time.perf_counter() - begin, 2), round(sum(os.times()[:4]) - begin_cpu, 2)]
        print(name, found[name], file=sys.stderr, flush=True)
        begin, begin_cpu = time.perf_counter(), sum(os.times()[:4])

    data.prepare_data()
    data.setup("fit")
    assert data.info.mean
    lap("pack" if stage == "pack" else "warm start")
    if stage == "read":
        loader = data.train_dataloader()
        next(iter(loader))
        lap("first batch")
        for epoch in ("first epoch", "second epoch"):
            for _ in loader:
                pass
            lap(epoch)
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "--stage":
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
