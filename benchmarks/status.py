"""What `comp status` takes where there are many runs, all of whose files are there.

    OMP_NUM_THREADS=1 python -m benchmarks.status [--runs 100] [--rounds 7] [--against CHECKOUT]

A workspace of few rows and N recipes that vary `c1`, with the files of their five folds, test
predictions and cards as `comp run` would leave them; what they are made from is missing. With a
second checkout, the command runs with either code in turn. Prints the least and the median of the
seconds of wall and processor: the least is what other work on the machine disturbs least.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks.checkouts import checkouts, run, write_seeds
from competition.core.json_files import write_json
from competition.core.parquet import write_table
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from tests.conftest import make_workspace

ROWS = 200  # of an output file


def make(folder: Path, runs: int) -> int:
    """Make the workspace; return the number of its steps."""
    _, settings = write_seeds(folder, runs)
    workspace: Workspace = make_workspace(folder, queries=20, settings=settings)

    outputs = pd.DataFrame({"example_id": range(ROWS)} | dict.fromkeys("exact", 0.25))
    steps = Pipeline(workspace).steps()
    for step in steps:
        # The files of runs alone: models and encoders would be folders.
        path = step.files[0] if step.files else Path()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            write_table(path, outputs, step.fingerprint)
        elif path.suffix == ".json":
            write_json(path, {"inputs": step.fingerprint})
    return len(steps)


def main() -> None:
    """Make the workspace, run in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, help="another checkout, run in alternation")
    asked = parser.parse_args()
    codes = checkouts(asked.against)

    with tempfile.TemporaryDirectory() as folder:
        steps = make(Path(folder), asked.runs)
        # The first round is not counted: it writes compiled modules.
        rounds = [
            {name: run(checkout, Path(folder), "status")[:2] for name, checkout in codes.items()}
            for _ in range(asked.rounds + 1)
        ][1:]

    print(f"{asked.runs} runs, {steps} steps; {asked.rounds} rounds; least and median")
    print("| code | wall s | processor s |")
    print("|---|---|---|")
    for name in codes:
        columns = zip(*(each[name] for each in rounds), strict=True)
        cells = [f"{min(seconds):.2f}, {median(seconds):.2f}" for seconds in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
