"""What `comp report`, with its table of scores and its paired matrices, takes where there are many queries and runs.

    python -m benchmarks.report [--queries 130000] [--runs 20] [--depth 20] [--rounds 3] [--against CHECKOUT]

A workspace with made-up rows of few products, and N runs of class probabilities that know a part of
the truth, each a file per fold as a training leaves it. `comp report` is then a process of its own, with
a second checkout in turn with either code. Prints the medians of its seconds of wall and processor, and
its peak memory.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.checkouts import Usage, checkouts, run, write_seeds
from competition.core.json_files import write_json
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.pipeline.steps import Pipeline
from competition.scoring.predictions import write_outputs
from tests.esci import CONTEST, KINDS, LABELS


def make(folder: Path, queries: int, runs: int, depth: int) -> int:
    """Make the workspace; return the number of its rows."""
    names, settings = write_seeds(folder, runs)
    (folder / "competition.toml").write_text(settings, encoding="utf-8")
    workspace = Workspace.open(folder)

    few, products, _ = synthetic.make(200, noise=0.05, seed=7)
    rng = np.random.default_rng(0)
    rows = queries * depth
    query = np.repeat(np.arange(queries), depth)
    code = rng.choice(len(LABELS), rows, p=[0.63, 0.23, 0.03, 0.11])
    first = few.iloc[0]
    listed = products.loc[products["locale"] == first["locale"], "product_id"].to_numpy()
    examples = pd.DataFrame({name: first[name] for name in few}, index=range(rows))
    examples["example_id"] = np.arange(rows)
    examples["query_id"] = query
    examples["query"] = "query " + pd.Series(query).astype(str)
    picked = (rng.integers(0, len(listed), queries)[:, None] + np.arange(depth)) % len(listed)
    examples["product_id"] = listed[picked.ravel()]
    examples["label"] = np.array(LABELS)[code]
    examples["substitute"] = pd.array(code == LABELS.index("substitute"), "boolean")
    test = query == queries - 1  # there must be one
    examples["split"] = np.where(test, "test", "train")
    store.save(workspace, CONTEST, examples.astype(few.dtypes.to_dict()), products, "test")

    pipeline = Pipeline(workspace)
    pipeline.inputs.folds("five").build()
    fold = pipeline.tables.fold_of_training("five").to_numpy()
    kind = KINDS["classes"]
    for number, name in enumerate(names):
        logits = 2.0 * np.eye(len(LABELS))[code] + rng.normal(0, 1.5 + number / 50, (rows, 4))
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        outputs = pd.DataFrame(share, columns=list(kind.outputs))
        outputs.insert(0, "example_id", examples["example_id"])
        plan = pipeline.plan.run(name)
        for k, (of_held_out, of_test) in enumerate(plan.parts):
            held_out = outputs[~test][fold == k]
            write_outputs(workspace.oof_fold(name, k), held_out, kind, of_held_out)
            write_outputs(workspace.test_fold(name, k), outputs[test], kind, of_test)
        write_json(workspace.run_card(name), {"inputs": plan.fingerprint})
    return rows


def main() -> None:
    """Make the workspace, write its report, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=130_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--depth", type=int, default=20, help="products of a query")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout, which is timed first")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a command's peak memory counts what the one that starts it held.
        made = os.fork()
        if not made:
            make(Path(folder) / "w", asked.queries, asked.runs, asked.depth)
            os.sync()  # what is still to be written would be written beside the reports
            os._exit(0)
        if os.waitpid(made, 0)[1]:
            raise SystemExit("the workspace could not be made")

        print("| code | queries | rows | runs | wall s | processor s | peak GiB |")
        print("|---|---|---|---|---|---|---|")
        size = f"{asked.queries:,} | {asked.queries * asked.depth:,} | {asked.runs}"
        of_code: dict[str, list[Usage]] = {}
        for _ in range(asked.rounds):
            for name, checkout in checkouts(asked.against).items():
                used = run(checkout, Path(folder) / "w", "--quiet", "report")
                of_code.setdefault(name, []).append(used)
        for name, rounds in of_code.items():
            wall, processor, peak = np.median(rounds, axis=0)
            print(f"| {name} | {size} | {wall:.1f} | {processor:.1f} | {peak:.2f} |")


if __name__ == "__main__":
    main()
