"""Rows that are odd and right: the whole line takes them, and ids come out as they went in."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.scoring.submissions import to_csv
from tests.conftest import comp
from tests.esci import CONTEST, FIELDS
from tests.scoring.test_submissions import perfect_answer

pytestmark = pytest.mark.slow

SETTINGS = """
recipes = ["lexical"]
noise_run = ""
ensembles = ["blend"]
[submission]
task1 = "blend"
task2 = "lexical"
[overrides]
n_estimators = 5
"""
ODD = (
    "=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "007", "nan", "NULL", 'say "no"', "a,b", "\u202egnp.exe", "\u200bx",
    "<script>alert(1)</script>", "<!--" * 1_000, "ﾎﾞﾄﾙ", "'; DROP TABLE", "1e308", "a;b", "[bold]red[/bold]",
    "%s %d {0}",
)  # fmt: skip


def make_rows(folder: Path, change: object) -> Workspace:
    """A workspace whose rows are the built-in catalogue's, changed."""
    folder.mkdir()
    (folder / "competition.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = Workspace.open(folder)
    examples, products, _ = synthetic.make(100, noise=0.05, seed=7)
    examples, products = change(examples, products)  # type: ignore[operator]
    store.save(workspace, CONTEST, examples, products, "hostile")
    return workspace


def odd_text(examples: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Odd ids, queries and texts, one of a megabyte, and ids at both ends of 64 bits."""
    new = dict(
        zip(
            products["product_id"].unique(),
            [*ODD, *products["product_id"].unique()[len(ODD) :]],
            strict=True,
        )
    )
    products = products.assign(product_id=products["product_id"].map(new))
    queries = dict(
        zip(
            examples["query"].unique(), [*ODD, *examples["query"].unique()[len(ODD) :]], strict=True
        )
    )
    examples = examples.assign(
        product_id=examples["product_id"].map(new), query=examples["query"].map(queries)
    )
    texts = {
        field: [ODD[(i + n) % len(ODD)] for i in range(len(products))]
        for n, field in enumerate(FIELDS)
    }
    products = products.assign(**texts)
    products.loc[products.index[:2], "description"] = ["<!--" * 2**18, "\x00\x1b[2J\r\n" * 2**17]
    ids = np.r_[-(2**63), 2**63 - 1, examples["example_id"].to_numpy()[2:]]
    return examples.assign(example_id=ids), products


def one_class(examples: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every label is the same."""
    return examples.assign(
        label="exact", substitute=pd.array([False] * len(examples), "boolean")
    ), products


def one_product(
    examples: pd.DataFrame, products: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every query has one product."""
    return examples.assign(
        query_id=np.arange(len(examples)),
        query=[f"{q} {i}" for i, q in enumerate(examples["query"])],
    ), products


def many_products(
    examples: pd.DataFrame, products: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A query of each split has 10,000 products."""
    parts, catalogue = [examples], [products]
    for n, split in enumerate(("train", "test")):
        row = examples[(examples["split"] == split) & examples["task1"]].iloc[[0]]
        more = row.loc[row.index.repeat(10_000)].assign(
            example_id=10**9 * (n + 1) + np.arange(10_000),
            product_id=[f"P{split}{i}" for i in range(10_000)],
        )
        more["label"] = np.resize(["exact", "substitute", "irrelevant"], 10_000)
        more["substitute"] = pd.array(more["label"] == "substitute", "boolean")
        parts.append(more)
        text = products[products["product_id"] == row["product_id"].iloc[0]].iloc[[0]]
        catalogue.append(
            text.loc[text.index.repeat(10_000)].assign(
                locale=row["locale"].iloc[0], product_id=list(more["product_id"])
            )
        )
    return pd.concat(parts, ignore_index=True), pd.concat(catalogue, ignore_index=True)


@pytest.mark.parametrize("change", [odd_text, one_class, one_product])
def test_odd_rows_pass_the_whole_line(change: object, tmp_path: Path) -> None:
    workspace = make_rows(tmp_path / "w", change)
    result = comp("run", "-w", workspace.root)
    assert result.exit_code == 0, (result.stderr, result.exception)
    examples = store.load_examples(workspace)
    test = examples[(examples["split"] == "test") & examples["task1"]]
    with (workspace.submission("main") / "task1.csv").open(encoding="utf-8", newline="") as file:
        answered = {(int(row["query_id"]), row["product_id"]) for row in csv.DictReader(file)}
    assert answered == set(zip(test["query_id"], test["product_id"], strict=True))
    for command in ("check", "score"):
        for task in ("task1", "task2"):
            file = workspace.submission("main") / f"{task}.csv"
            assert comp(command, file, "--task", task, "-w", workspace.root).exit_code == 0
    audit = comp("cleanlab", "--from", "lexical", "-w", workspace.root)
    if change is one_class:
        assert audit.exit_code == 1
        assert "Every audited row is labelled 'exact'" in audit.stderr
        return
    assert audit.exit_code == 0, audit.stderr
    assert not any(c in audit.output for c in "\x1b\x00\u202e\u200b")
    page = workspace.review_page("lexical").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not any(c in page for c in "\x1b\x00\u202e")


def test_a_query_of_ten_thousand_products_is_checked_and_graded(tmp_path: Path) -> None:
    workspace = make_rows(tmp_path / "w", many_products)
    examples, file = store.load_examples(workspace), tmp_path / "answer.csv"
    for task in ("task1", "task2"):
        file.write_text(to_csv(perfect_answer(task, examples)), encoding="utf-8")
        assert comp("check", file, "--task", task, "-w", workspace.root).exit_code == 0
        assert "1.000000" in comp("score", file, "--task", task, "-w", workspace.root).output
