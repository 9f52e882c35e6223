"""What `comp run --dry-run` says, beside what `comp run` takes: three workspaces, one and two jobs, one thread each.

The workspaces are 80 and 300 queries of the built-in catalogue with every kind of recipe (`preset =
"tiny"`), and `comp data sample` with its default settings, which `make demo` runs. Plan and run take
turns in the workspace that is yet empty, each a process of its own; seconds are by the clock on the
wall. Run it on an idle machine: `python -m benchmarks.plan [WORKSPACE …]`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import make_workspace

COMP = (sys.executable, "-m", "competition")
JOBS = ("1", "2")


def make_sample(folder: Path) -> None:
    """Make the workspace of `make demo`."""
    for words in (("init", str(folder)), ("data", "sample", "-w", str(folder))):
        subprocess.run([*COMP, *words], check=True, capture_output=True)


WORKSPACES = {
    "80 queries": lambda folder: make_workspace(folder, queries=80),
    "300 queries": lambda folder: make_workspace(folder, queries=300),
    "comp data sample": make_sample,
}


def comp(*words: str) -> tuple[str, float]:
    """Return what a command writes to stdout, and its seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [*COMP, *words], env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout, time.perf_counter() - start


def main(*names: str) -> None:
    """Print the table."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    print("| workspace | jobs | planned, s | taken, s | taken / planned | to plan, s |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in names or WORKSPACES:
        with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            start = Path(folder, "start")
            WORKSPACES[name](start)
            for jobs in JOBS:
                root = str(shutil.copytree(start, Path(folder, jobs)))
                options = ("--jobs", jobs, "-w", root)
                said, to_plan = comp("run", "--json", "--dry-run", *options)
                (table,) = json.loads(said)["tables"]
                planned = table["about"]["seconds"]
                _, taken = comp("run", "--quiet", *options)
                cells = f"{planned:.0f} | {taken:.0f} | {taken / planned:.2f} | {to_plan:.0f}"
                print(f"| {name} | {jobs} | {cells} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
