"""Contests that are made up, from a definition to a checked answer file, by the commands of a user."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import comp, refused

# What `comp init` writes, for seconds.
QUICK = """
preset = "tiny"
recipes = ["lexical", "b1"]
default_recipe = "b1"
noise_run = ""
[overrides]
scheme = "five"
max_length = 16
epochs = 1
n_estimators = 10
adversary = "none"
r_drop = 0.0
"""
pytestmark = pytest.mark.slow
WORDS = [a + b for a in ("ka", "lo", "mi", "ru", "te") for b in ("bel", "dor", "fin", "gas", "nuk")]


def judged(queries: int, products: int, seed: int) -> pd.DataFrame:
    """Pairs with the share of the query's two words that the title has, 0, 1/2 or 1, and which of them are tested."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(queries):
        asked = random.choice(WORDS, 2, replace=False)
        others = [word for word in WORDS if word not in asked]
        for _ in range(products):
            shared = int(random.integers(3))
            title = [
                *random.choice(asked, shared, replace=False),
                *random.choice(others, 4 - shared, replace=False),
            ]
            text = " ".join(random.choice(others, 3, replace=False))
            rows.append((number, " ".join(asked), " ".join(title), text, shared / 2))
    return pd.DataFrame(rows, columns=["number", "query", "title", "text", "share"])


def run(folder: Path, definition: str, *data: str | Path) -> Path:
    """Make a workspace of a definition and its data, and run everything; return its folder."""
    file = folder / "made.toml"
    if definition.count("\n"):
        file.write_text(definition, encoding="utf-8")
        definition = str(file)
    workspace = folder / "w"
    succeeds("init", workspace, "--competition", definition)
    settings = workspace / "competition.toml"
    (name,) = [line for line in settings.read_text().splitlines() if line.startswith("competition")]
    settings.write_text(f"{name}\n{QUICK}")
    succeeds("data", "import", *data, "-w", workspace)
    succeeds("run", "-w", workspace)
    return workspace


def succeeds(*arguments: str | Path) -> str:
    """Run a command that must succeed; return what it printed."""
    result = comp(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


def answered(workspace: Path, task: str) -> pd.DataFrame:
    """The answer file of a task, as text, after `comp check` accepts it."""
    file = workspace / "submissions" / "main" / f"{task}.csv"
    succeeds("check", file, "--task", task, "-w", workspace)
    return pd.read_csv(file, dtype=str)


def score(workspace: Path, task: str) -> str:
    file = workspace / "submissions" / "main" / f"{task}.csv"
    return succeeds("score", file, "--task", task, "-w", workspace)


def test_ratings_by_kappa_whose_test_queries_are_training_queries(tmp_path: Path) -> None:
    definition = """
fields = ["title", "text"]
folds = "rows"
[files]
train = "train.csv"
test = "test.csv"
[columns]
title = "product_title"
label = "median_relevance"
[labels]
levels = [1, 2, 3, 4]
[tasks.rating]
kind = "rate"
metric = "quadratic-kappa"
answer = ["id", "prediction"]
"""
    rows = judged(30, 10, seed=1)
    rows["id"] = np.arange(len(rows)) + 1
    rows["median_relevance"] = (1 + 3 * rows["share"]).round().astype(int)
    rows = rows.rename(columns={"title": "product_title"})
    test = rows["id"] % 4 == 0
    rows[~test].to_csv(
        tmp_path / "train.csv",
        index=False,
        columns=["id", "query", "product_title", "text", "median_relevance"],
    )
    rows[test].to_csv(
        tmp_path / "test.csv", index=False, columns=["id", "query", "product_title", "text"]
    )

    workspace = run(tmp_path, definition, tmp_path)
    answer = answered(workspace, "rating")
    assert list(answer) == ["id", "prediction"]
    assert list(answer["id"].astype(int)) == list(rows.loc[test, "id"])
    assert set(answer["prediction"]) <= {"1", "2", "3", "4"}
    truth = rows.set_index("id").loc[answer["id"].astype(int), "median_relevance"]
    assert np.corrcoef(answer["prediction"].astype(float), truth)[0, 1] > 0.5


def test_numbers_in_thirds_by_rmse_with_descriptions_in_another_file(tmp_path: Path) -> None:
    definition = """
fields = ["title", "description"]
[files]
train = "train.csv"
test = "test.csv"
products = "product_descriptions.csv"
encoding = "latin-1"
[columns]
query = "search_term"
title = "product_title"
description = "product_description"
product_id = "product_uid"
label = "relevance"
[labels]
range = [1, 3]
[tasks.relevance]
kind = "rate"
metric = "rmse"
answer = ["id", "relevance"]
"""
    random = np.random.default_rng(2)
    rows = judged(40, 8, seed=2)
    rows["id"] = random.permutation(len(rows)) + 2
    rows["product_uid"] = np.arange(len(rows)) + 100001
    rows["relevance"] = (1 + (6 * rows["share"]).round() / 3).round(2)
    rows = rows.rename(columns={"query": "search_term", "title": "product_title"})
    test = rows["number"] % 4 == 0
    columns = ["id", "product_uid", "product_title", "search_term"]
    rows[~test][[*columns, "relevance"]].to_csv(
        tmp_path / "train.csv", index=False, encoding="latin-1"
    )
    rows[test][columns].to_csv(tmp_path / "test.csv", index=False, encoding="latin-1")
    described = rows[["product_uid"]].assign(product_description="größe café " + rows["text"])
    described.to_csv(tmp_path / "product_descriptions.csv", index=False, encoding="latin-1")

    workspace = run(tmp_path, definition, tmp_path)
    answer = answered(workspace, "relevance")
    assert list(answer) == ["id", "relevance"]
    assert sorted(answer["id"].astype(int)) == sorted(rows.loc[test, "id"])
    assert answer["relevance"].astype(float).between(1, 3).all()


def test_binary_by_auc(tmp_path: Path) -> None:
    definition = """
fields = ["title"]
[labels]
levels = [0, 1]
[tasks.relevance]
kind = "classify"
metric = "auc"
answer = ["id", "probability"]
"""
    rows = judged(40, 8, seed=3)
    rows["id"] = [f"row-{number}" for number in range(len(rows))]
    rows["label"] = (rows["share"] > 0.4).astype(int)
    rows["split"] = np.where(rows["number"] % 4 == 0, "test", "train")
    rows[["id", "query", "title", "label", "split"]].to_csv(tmp_path / "pairs.csv", index=False)

    workspace = run(tmp_path, definition, tmp_path / "pairs.csv")
    answer = answered(workspace, "relevance")
    assert list(answer) == ["id", "probability"]
    print(score(workspace, "relevance"))


def test_three_labels_by_macro_f1_with_german_and_french_locales(tmp_path: Path) -> None:
    definition = """
fields = ["title", "text"]
[locales]
de = { language = "de" }
fr = { language = "fr" }
[labels]
names = ["good", "fair", "bad"]
[tasks.grade]
kind = "classify"
metric = "macro-F1"
answer = ["id", "grade"]
[columns]
label = "grade"
locale = "market"
"""
    rows = judged(50, 8, seed=4)
    rows["id"] = [f"{number:04}x" for number in range(len(rows))][::-1]
    rows["grade"] = rows["share"].map({0.0: "bad", 0.5: "fair", 1.0: "good"})
    rows["market"] = np.where(rows["number"] % 2 == 0, "de", "fr")
    rows["split"] = np.where(rows["number"] % 5 == 0, "test", "train")
    rows[["id", "query", "market", "title", "text", "grade", "split"]].to_csv(
        tmp_path / "pairs.csv", index=False
    )

    workspace = run(tmp_path, definition, tmp_path / "pairs.csv")
    answer = answered(workspace, "grade")
    assert list(answer) == ["id", "grade"]
    print(score(workspace, "grade"))


def test_ranking_by_map_with_two_fields(tmp_path: Path) -> None:
    definition = """
fields = ["title", "text"]
[labels]
levels = [0, 1, 2]
[tasks.ranking]
kind = "rank"
metric = "map"
relevant = 2
answer = ["query_id", "product_id"]
"""
    rows = judged(40, 8, seed=5)
    rows["query_id"] = "q" + rows["number"].astype(str)
    rows["product_id"] = [f"p{number}" for number in range(len(rows))]
    rows["label"] = (2 * rows["share"]).astype(int)
    rows["split"] = np.where(rows["number"] % 4 == 0, "test", "train")
    rows[["query_id", "query", "product_id", "title", "text", "label", "split"]].to_csv(
        tmp_path / "pairs.csv", index=False
    )

    workspace = run(tmp_path, definition, tmp_path / "pairs.csv")
    answer = answered(workspace, "ranking")
    assert list(answer) == ["query_id", "product_id"]
    print(score(workspace, "ranking"))


def test_judgments_without_test_rows_are_cross_validated(tmp_path: Path) -> None:
    rows = judged(40, 8, seed=6)
    rows = rows.rename(columns={"query": "search", "title": "name"})
    rows["grade"] = (2 * rows["share"]).astype(int)
    rows[["search", "name", "grade"]].to_csv(tmp_path / "judgments.csv", index=False)

    workspace = run(
        tmp_path,
        "ratings",
        tmp_path / "judgments.csv",
        "--map",
        "query=search,title=name,label=grade",
    )
    refused("submit", "-w", workspace)
