"""The parts of SLURM that the batch script of docs/training.md needs, as small programs: srun and scontrol."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

# Starts the tasks of all nodes as SLURM would. Like the real srun, it exits with the highest status of the tasks.
SRUN = """#!{python}
import os, shlex, subprocess, sys
assert sys.argv[1] == "--kill-on-bad-exit=1"
tasks = [
    subprocess.Popen([*sys.argv[2:], *shlex.split(os.environ["MORE_OPTIONS"])],
                     env=dict(os.environ, SLURM_PROCID=str(rank), SLURM_NODEID=str(rank), SLURM_LOCALID="0"))
    for rank in range(int(os.environ["SLURM_NTASKS"]))
]
sys.exit(max(task.wait() % 256 for task in tasks))
"""
SCONTROL = '#!/bin/sh\necho "$@" >> scontrol.log\n'


def batch(script: str, folder: Path, job: int, options: list[str]) -> tuple[int, str]:
    """Run a batch script in `folder` as a job with the number of nodes that it requests, one task per node.

    Args:
        options: added to the command that the script passes to srun.

    Returns its exit status and output. `scontrol.log` in the folder gets a line for each call of scontrol.
    """
    programs = {"srun": SRUN.format(python=sys.executable), "scontrol": SCONTROL, "train.sh": script}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    environments = folder / ".venv" / "bin"
    environments.mkdir(parents=True, exist_ok=True)
    (environments / "activate").write_text(f"PATH={folder}:{Path(sys.executable).parent}:$PATH\n")
    requested = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, re.M))
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "MORE_OPTIONS": " ".join(options), "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NAME": requested["job-name"], "SLURM_NNODES": requested["nodes"], "SLURM_NTASKS": requested["nodes"],
        "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        [folder / "train.sh"], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr
