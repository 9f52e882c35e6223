"""Two jobs beside one: `comp run --jobs 2` and `comp run` of the same workspace, with one thread for each step.

Rows of the built-in catalogue; the lexical baseline and five folds of one neural recipe, of one
epoch each. The two commands take turns, in the order ABBA, so that a machine that slows down is
unfair to none; both import everything that they need, as a user's do. Their artefacts are compared,
too. Run it on an idle machine with two cores or more: `python -m benchmarks.jobs [QUERIES]`.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.conftest import artefacts, make_workspace

QUERIES = 300
ORDER = ("1", "2", "2", "1")
SETTINGS = """
preset = "mini"
recipes = ["lexical", "c1"]
noise_run = "lexical"
ensembles = []
[submission]
task2 = "c1"
[overrides]
epochs = 1
scheme = "five"
"""


def timed(root: Path, jobs: str) -> float:
    """Return the seconds of `comp run` with some jobs."""
    command = [
        sys.executable,
        "-m",
        "competition",
        "run",
        "--quiet",
        "--jobs",
        jobs,
        "-w",
        str(root),
    ]
    start = time.perf_counter()
    subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main(queries: int = QUERIES, settings: str = SETTINGS) -> None:
    """Print the seconds of both, and how many times as fast two jobs are."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    found = []
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        start = make_workspace(Path(folder, "start"), queries=queries, settings=settings).root
        for number, jobs in enumerate(ORDER):
            root = Path(shutil.copytree(start, Path(folder, str(number))))
            seconds[jobs].append(timed(root, jobs))
            found.append(artefacts(root))

    same = all(each == found[0] for each in found)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {queries} queries")
    for jobs, each in seconds.items():
        print(f"--jobs {jobs}: {', '.join(f'{value:.1f}' for value in each)} s")
    print(f"times as fast: {median(seconds['1']) / median(seconds['2']):.2f}")
    print(f"artefacts: {len(found[0])}, {'the same bytes' if same else 'DIFFERENT BYTES'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
