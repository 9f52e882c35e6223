"""What `comp run --dry-run` says, beside what `comp run` takes: three workspaces, one and two jobs, one thread each.

The workspaces are 80 and 300 queries of the built-in catalogue with every kind of recipe (`preset =
"tiny"`), and `comp data sample` with its default settings, which `make demo` runs. Plan and run take
turns in the workspace that is yet empty, each a process of its own. Run it on an idle machine:
`python -m benchmarks.plan [WORKSPACE …]`. On a busy one, `python -m benchmarks.plan processor` compares
seconds of the processor, one job alone: the plan's clock is that of its process, too.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import make_workspace

COMP = (sys.executable, "-m", "competition")
# The same, to whom the seconds of the processor are the time.
_CLOCK = (
    "import time; time.monotonic = time.process_time; from competition.__main__ import main; main()"
)
TIMED = (sys.executable, "-c", _CLOCK)


def make_sample(folder: Path) -> None:
    """Make the workspace of `make demo`."""
    for words in (("init", str(folder)), ("data", "sample", "-w", str(folder))):
        subprocess.run([*COMP, *words], check=True, capture_output=True)


WORKSPACES = {
    "80 queries": lambda folder: make_workspace(folder, queries=80),
    "300 queries": lambda folder: make_workspace(folder, queries=300),
    "comp data sample": make_sample,
}


def comp(*words: str, by_processor: bool) -> tuple[str, float]:
    """Return what a command writes to stdout, and its seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    program = TIMED if by_processor else COMP
    start = now(by_processor)
    done = subprocess.run(
        [*program, *words], env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout, now(by_processor) - start


def now(by_processor: bool) -> float:
    """Return the time, or the seconds of the processor of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime if by_processor else time.perf_counter()


def main(*names: str) -> None:
    """Print the table."""
    by_processor = names == ("processor",)
    names = () if by_processor else names
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    print("| workspace | jobs | planned, s | taken, s | taken / planned | to plan, s |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in names or WORKSPACES:
        with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            start = Path(folder, "start")
            WORKSPACES[name](start)
            for jobs in ("1",) if by_processor else ("1", "2"):
                root = str(shutil.copytree(start, Path(folder, jobs)))
                options = ("--jobs", jobs, "-w", root)
                said, to_plan = comp(
                    "run", "--json", "--dry-run", *options, by_processor=by_processor
                )
                (table,) = json.loads(said)["tables"]
                planned = table["about"]["seconds"]
                _, taken = comp("run", "--quiet", *options, by_processor=by_processor)
                cells = f"{planned:.0f} | {taken:.0f} | {taken / planned:.2f} | {to_plan:.0f}"
                print(f"| {name} | {jobs} | {cells} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
