"""Contests that are made up, from a definition to a checked answer file, by the commands of a user."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from competition.analysis.ensemble_study import EnsembleStudy
from competition.analysis.report.breakdown import breakdown
from competition.analysis.report.evidence import Evidence
from competition.core.workspace import Workspace
from competition.data import store
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, refused

pytestmark = pytest.mark.slow

# Less of everything: what `comp init` writes, for seconds.
QUICK = """
scheme = "five"
max_length = 16
epochs = 1
n_estimators = 10
adversary = "none"
r_drop = 0.0
"""
SYLLABLES = ("bel", "dor", "fin", "gas", "nuk")
WORDS = [first + second for first in ("ka", "lo", "mi", "ru", "te") for second in SYLLABLES]


def judged(queries: int, products: int, seed: int) -> pd.DataFrame:
    """Pairs with the share of the query's two words that the title has: 0, 1/2 or 1."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(queries):
        asked = random.choice(WORDS, 2, replace=False)
        others = [word for word in WORDS if word not in asked]
        for _ in range(products):
            shared = int(random.integers(3))
            title = [*random.choice(asked, shared, replace=False)]
            title += [*random.choice(others, 4 - shared, replace=False)]
            text = " ".join(random.choice(others, 3, replace=False))
            rows.append((number, " ".join(asked), " ".join(title), text, shared / 2))
    return pd.DataFrame(rows, columns=["number", "query", "title", "text", "share"])


def succeeds(*arguments: str | Path) -> str:
    """Run a command that must succeed; return what it printed."""
    result = comp(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


def make(folder: Path, competition: str | Path, *data: str | Path) -> tuple[Path, str]:
    """Make a workspace of a competition and its data, and run everything; return its folder and what was printed."""
    workspace = folder / "w"
    succeeds("init", workspace, "--competition", competition)
    settings = workspace / "competition.toml"
    before, _, _ = settings.read_text().replace('"mini"', '"tiny"').partition("[overrides]\n")
    settings.write_text(f"{before}[overrides]\n{QUICK}")
    succeeds("data", "import", *data, "-w", workspace)
    printed = succeeds("run", "-w", workspace)
    succeeds("status", "-w", workspace)
    succeeds("report", "-w", workspace)
    return workspace, printed


def write_definition(folder: Path, text: str) -> Path:
    path = folder / "made.toml"
    path.write_text(text, encoding="utf-8")
    return path


def answer_of(workspace: Path, task: str) -> pd.DataFrame:
    """The answer file of a task, as text, which `comp check` accepts."""
    file = workspace / "submissions" / "main" / f"{task}.csv"
    succeeds("check", file, "--task", task, "-w", workspace)
    return pd.read_csv(file, dtype=str)


def graded(workspace: Path, task: str) -> float:
    """What `comp score` says of the answer file of a task, over all rows."""
    file = workspace / "submissions" / "main" / f"{task}.csv"
    printed = succeeds("score", file, "--task", task, "-w", workspace)
    cell = re.search(r"│ all +│ +\d+ │ +([\d.-]+) │", printed)
    assert cell, printed
    return float(cell[1])


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
        raters = ["first", "second"]
        [tasks.rating]
        kind = "rate"
        metric = "quadratic-kappa"
        answer = ["id", "prediction"]
        """
    rows = judged(30, 10, seed=1).rename(columns={"title": "product_title"})
    rows["id"] = np.arange(len(rows)) + 1
    # One word of two is 2 for a seller's other products, else 3.
    rows["median_relevance"] = (1 + 3 * rows["share"]).astype(int) + rows["share"].eq(0.5) * (
        rows["id"] % 2
    )
    test = rows["id"] % 4 == 0
    # Two people judged every row and disagree on one in five.
    rows["first"] = rows["median_relevance"]
    rows["second"] = rows["first"] % 4 + 1
    rows["second"] = rows["second"].where(rows["id"] % 5 == 0, rows["first"])
    columns = ["id", "query", "product_title", "text"]
    labels = ["median_relevance", "first", "second"]
    rows.loc[~test, [*columns, *labels]].to_csv(tmp_path / "train.csv", index=False)
    rows.loc[test, columns].to_csv(tmp_path / "test.csv", index=False)

    workspace, _ = make(tmp_path, write_definition(tmp_path, definition), tmp_path)
    examples = store.load_examples(Workspace(workspace))
    is_test = examples["split"] == "test"
    assert set(examples.loc[is_test, "query"]) <= set(examples.loc[~is_test, "query"])

    answer = answer_of(workspace, "rating")
    assert list(answer) == ["id", "prediction"]
    assert list(answer["id"]) == [str(number) for number in rows.loc[test, "id"]]
    assert set(answer["prediction"]) <= {"1", "2", "3", "4"}
    truth = rows.loc[test, "median_relevance"].to_numpy()
    assert np.corrcoef(answer["prediction"].astype(int), truth)[0, 1] > 0.5

    audited = succeeds("cleanlab", "-w", workspace)
    assert "share of flagged rows that raters disagree on" in audited
    assert "no row is in two of them" in succeeds("doctor", "-w", workspace)
    # What is learned for classes alone is not tried.
    pipeline = Pipeline(Workspace(workspace))
    study = EnsembleStudy(pipeline, pipeline.recipes.ensemble("blend"))
    tried = {variant.name for variant in study.variants if study.tasks_of(variant)}
    assert {"blend.paper", "blend.lightgbm"} < tried
    assert "blend.thresholds" not in tried
    assert "blend.paper" in succeeds("stack", "blend.paper", "--only", "-w", workspace)

    # The competition keeps the labels of its test rows.
    file = workspace / "submissions" / "main" / "rating.csv"
    assert "no labels here" in refused("score", file, "--task", "rating", "-w", workspace)
    file.write_text(file.read_text().replace(f",{answer['prediction'][0]}\n", ",5\n", 1))
    sentence = refused("check", file, "--task", "rating", "-w", workspace)
    assert (
        "row 1 (id '4', prediction '5') has an unknown prediction: known are 1, 2, 3, 4."
        in sentence
    )


@pytest.mark.parametrize(
    ("held_out", "shared", "said"),
    [
        ("rows", "shared", ""),
        (
            "queries",
            "shared",
            "100% of the test queries are training queries, but folds hold whole",
        ),
        ("rows", "new", "0% of the test queries are training queries, but folds hold rows"),
        ("queries", "new", ""),
    ],
)
def test_folds_that_are_not_like_test_rows_are_named(
    tmp_path: Path, held_out: str, shared: str, said: str
) -> None:
    definition = f"""
        fields = ["title"]
        folds = "{held_out}"
        [tasks.rating]
        kind = "rate"
        metric = "rmse"
        """
    rows = judged(10, 4, seed=2).rename(columns={"share": "label"})
    rows["split"] = np.where(np.arange(len(rows)) % 4 == 0, "test", "train")
    if shared == "new":
        rows.loc[rows["split"] == "test", "query"] += " again"
    rows.assign(id=np.arange(len(rows))).to_csv(tmp_path / "rows.csv", index=False)

    succeeds("init", tmp_path / "w", "--competition", write_definition(tmp_path, definition))
    printed = succeeds("data", "import", tmp_path / "rows.csv", "-w", tmp_path / "w")
    assert ("of the test queries are training queries" in printed) == bool(said)
    assert said in printed


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
    rows = judged(40, 8, seed=2)
    rows = rows.rename(columns={"query": "search_term", "title": "product_title"})
    rows["id"] = np.random.default_rng(2).permutation(len(rows)) + 2
    rows["product_uid"] = np.arange(len(rows)) + 100_001
    # Three people say 1, 2 or 3: sums are in thirds.
    rows["relevance"] = (1 + (6 * rows["share"] - rows["id"] % 2).clip(0) / 3).round(2)
    test = rows["number"] % 4 == 0
    columns = ["id", "product_uid", "product_title", "search_term"]
    latin = {"index": False, "encoding": "latin-1"}
    rows.loc[~test, [*columns, "relevance"]].to_csv(tmp_path / "train.csv", **latin)
    rows.loc[test, columns].to_csv(tmp_path / "test.csv", **latin)
    described = rows[["product_uid"]].assign(product_description="größe café " + rows["text"])
    described.to_csv(tmp_path / "product_descriptions.csv", **latin)

    workspace, printed = make(tmp_path, write_definition(tmp_path, definition), tmp_path)
    products = store.load_products(Workspace(workspace))
    assert products["description"].str.startswith("größe café ").all()
    assert "lower is better" in printed

    answer = answer_of(workspace, "relevance")
    assert list(answer) == ["id", "relevance"]
    assert list(answer["id"]) == [str(number) for number in sorted(rows.loc[test, "id"])]
    numbers = answer["relevance"].astype(float)
    assert numbers.between(1, 3).all()
    truth = rows.set_index("id")["relevance"].loc[answer["id"].astype(int)].to_numpy()
    error = np.sqrt(np.mean((numbers - truth) ** 2))
    assert error < np.std(truth)

    # The card of the ensemble says what the same errors give out of fold.
    board = pd.read_csv(workspace / "reports" / "scores.csv")
    assert set(board["better"]) == {"lower"}
    assert board.loc[board["run"] == "blend-relevance", "above_baseline"].item() < 0


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
    rows["label"] = (rows["share"] == 1).astype(int)
    rows["split"] = np.where(rows["number"] % 4 == 0, "test", "train")
    columns = ["id", "query", "title", "label", "split"]
    rows[columns].to_csv(tmp_path / "pairs.csv", index=False)

    workspace, _ = make(tmp_path, write_definition(tmp_path, definition), tmp_path / "pairs.csv")
    answer = answer_of(workspace, "relevance")
    assert list(answer) == ["id", "probability"]
    assert list(answer["id"]) == sorted(rows.loc[rows["split"] == "test", "id"])
    probability = answer["probability"].astype(float).to_numpy()
    assert ((probability > 0) & (probability < 1)).all()

    truth = rows.set_index("id")["label"].loc[answer["id"]].to_numpy()
    above = probability[truth == 1][:, None] - probability[truth == 0]  # (positive, negative)
    area = (above > 0).mean() + (above == 0).mean() / 2
    assert graded(workspace, "relevance") == pytest.approx(area, abs=1e-6)
    assert area > 0.8

    # The report counts the pairs of a group within the group.
    evidence = Evidence(Pipeline(Workspace(workspace)))
    task = evidence.pipeline.plan.contest.tasks["relevance"]
    table = breakdown(evidence, [task]).set_index(["run", "by", "group"])
    held_out = pd.read_parquet(Workspace(workspace).oof_fold("lexical", 0))
    labels = evidence.rows(task).set_index("example_id")["label"].loc[held_out["example_id"]]
    expected = roc_auc_score(labels.astype(int), held_out["p_1"])
    shown = table.loc[("lexical", "fold", "fold 0"), "score"]
    assert shown == pytest.approx(expected, abs=1e-12)


def test_three_labels_by_macro_f1_with_german_and_french_locales(tmp_path: Path) -> None:
    definition = """
        fields = ["title", "text"]
        [columns]
        label = "grade"
        locale = "market"
        [locales]
        de = { language = "de" }
        fr = { language = "fr" }
        [labels]
        names = ["good", "fair", "bad"]
        [tasks.grade]
        kind = "classify"
        metric = "macro-F1"
        answer = ["id", "grade"]
        """
    rows = judged(50, 8, seed=4)
    rows["id"] = [f"{number:04}x" for number in range(len(rows))]
    rows["grade"] = rows["share"].map({0.0: "bad", 0.5: "fair", 1.0: "good"})
    rows["market"] = np.where(rows["number"] % 2 == 0, "de", "fr")
    rows["split"] = np.where(rows["number"] % 5 == 0, "test", "train")
    columns = ["id", "query", "market", "title", "text", "grade", "split"]
    rows[columns].to_csv(tmp_path / "pairs.csv", index=False)

    workspace, _ = make(tmp_path, write_definition(tmp_path, definition), tmp_path / "pairs.csv")
    examples = store.load_examples(Workspace(workspace))
    assert examples["locale"].value_counts().to_dict() == {"de": 25 * 8, "fr": 25 * 8}

    answer = answer_of(workspace, "grade")
    assert list(answer) == ["id", "grade"]
    assert list(answer["id"]) == list(rows.loc[rows["split"] == "test", "id"])  # in their order
    assert set(answer["grade"]) <= {"good", "fair", "bad"}

    truth = rows.set_index("id")["grade"].loc[answer["id"]].to_numpy()
    given = answer["grade"].to_numpy()
    of_labels = [
        2
        * ((truth == label) & (given == label)).sum()
        / ((truth == label).sum() + (given == label).sum())
        for label in ("good", "fair", "bad")
    ]
    assert graded(workspace, "grade") == pytest.approx(np.mean(of_labels), abs=1e-6)


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
    rows["product_id"] = [f"p{number:03}" for number in range(len(rows))]
    rows["label"] = (2 * rows["share"]).astype(int)
    rows["split"] = np.where(rows["number"] % 4 == 0, "test", "train")
    columns = ["query_id", "query", "product_id", "title", "text", "label", "split"]
    rows[columns].to_csv(tmp_path / "pairs.csv", index=False)

    workspace, _ = make(tmp_path, write_definition(tmp_path, definition), tmp_path / "pairs.csv")
    answer = answer_of(workspace, "ranking")
    assert list(answer) == ["query_id", "product_id"]
    tested = rows.loc[rows["split"] == "test", ["query_id", "product_id"]]
    assert set(map(tuple, answer.to_numpy())) == set(map(tuple, tested.to_numpy()))
    # The rows of a query are together.
    assert (answer["query_id"] != answer["query_id"].shift()).sum() == answer["query_id"].nunique()

    relevant = rows.set_index("product_id")["label"].loc[answer["product_id"]].to_numpy() == 2
    precisions = []
    for query in answer["query_id"].unique():
        hits = relevant[answer["query_id"] == query]
        if hits.any():
            at_each = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            precisions.append(at_each[hits].mean())
    assert graded(workspace, "ranking") == pytest.approx(np.mean(precisions), abs=1e-6)


def test_judgments_without_test_rows_are_cross_validated(tmp_path: Path) -> None:
    rows = judged(40, 8, seed=6).rename(columns={"query": "search", "title": "name"})
    rows["grade"] = (2 * rows["share"]).astype(int)
    rows[["search", "name", "grade"]].to_csv(tmp_path / "judgments.csv", index=False)

    names = "query=search,title=name,label=grade"
    workspace, printed = make(tmp_path, "ratings", tmp_path / "judgments.csv", "--map", names)
    assert "No submission: the data have no test rows." in printed
    assert not list((workspace / "submissions").iterdir())
    assert "no test rows" in refused("submit", "-w", workspace)

    board = pd.read_csv(workspace / "reports" / "scores.csv")
    assert set(board["split"]) == {"out-of-fold"}
    of_all = board[board["group"] == "all"]
    assert {*zip(of_all["task"], of_all["run"], strict=True)} == {
        (task, run) for task in ("ranking", "rating") for run in ("lexical", "b1", f"blend-{task}")
    }
