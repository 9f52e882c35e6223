"""New rows, from a file (`comp predict`) or from Python: told what the run tells test rows of its own."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import competition
from competition.core.errors import InputError
from competition.core.json_files import read_manifest
from competition.core.workspace import Workspace
from competition.pipeline import build_outputs
from competition.pipeline.scorer import Scorer
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, refused
from tests.esci import LABELS

_BACK = {
    "title": "product_title",
    "brand": "product_brand",
    "color": "product_color",
    "bullets": "product_bullet_point",
    "description": "product_description",
    "locale": "product_locale",
}


@pytest.fixture(scope="module")
def rows(finished: Workspace) -> pd.DataFrame:
    """The test rows as a file brings them, shuffled."""
    tables = Pipeline(finished).tables
    test = tables.examples.loc[
        tables.examples["split"] == "test", ["example_id", "query", "locale", "product_id"]
    ]
    joined = test.merge(
        tables.products, on=["locale", "product_id"], how="left", validate="many_to_one"
    )
    return joined.rename(columns=_BACK).sample(frac=1, random_state=1, ignore_index=True)


@pytest.mark.parametrize("run", ["lexical", "c1", "r2", "t3", "blend-task3"])
def test_test_rows_are_told_what_the_run_tells_them(
    run: str, finished: Workspace, rows: pd.DataFrame, tmp_path: Path
) -> None:
    # Models compute the last digit in another order where rows stand in another, and trees split on
    # last digits.
    rows = rows.sort_values("example_id", ignore_index=True) if run.startswith("blend") else rows
    rows.to_csv(tmp_path / "rows.csv", index=False)
    result = comp("predict", tmp_path / "rows.csv", "--from", run, "-w", finished.root)
    assert result.exit_code == 0, result.output
    scored = pd.read_csv(
        tmp_path / f"rows-{run}.csv", dtype={"query": str, "product_id": str}, keep_default_na=False
    )
    assert (
        scored["example_id"].tolist() == rows["example_id"].tolist()
    )  # the file's order, its columns kept
    assert scored["product_title"].tolist() == rows["product_title"].tolist()
    pipeline = Pipeline(finished)
    plan = pipeline.plan.run(run)
    test = pipeline.tables.read_run(plan).test.set_index("example_id").loc[rows["example_id"]]
    columns = [column for column in test if column in scored]
    assert columns or plan.kind.name in ("gain", "score")
    for column in columns:
        assert scored[column].to_numpy(np.float64) == pytest.approx(
            test[column].to_numpy(np.float64), abs=1e-6
        )
    if plan.kind.name in ("gain", "score"):
        assert scored["score"].to_numpy(np.float64) == pytest.approx(
            test.iloc[:, 0].to_numpy(np.float64), abs=1e-6
        )


def test_an_ensemble_answers_without_being_fitted_again(
    finished: Workspace, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept says what a fit says, to the last bit; where it is lost, it is fitted and kept once more."""
    kept = finished.fitted("blend-task1")
    products = rows[["product_title", "product_locale"]].head(40)
    queries = rows["query"].head(40).tolist()

    def score() -> list[float]:
        return competition.load("blend-task1", finished.root).score(queries, products).tolist()

    with monkeypatch.context() as patch:
        patch.setattr(build_outputs, "read_members", None)  # nothing is there to fit to
        answered = score()
    before = read_manifest(kept)
    shutil.rmtree(kept)
    assert score() == answered
    assert before is not None
    assert read_manifest(kept) == before


def test_a_thousand_rows_with_gaps_and_other_alphabets_are_answered_in_order(
    finished: Workspace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    queries = [
        "usb cable",
        "café, molido",
        'tv 55"',
        "ワイヤレス イヤホン",
        "#1 <b>best</b>",
        "nan",
    ]
    titles = [
        "USB cable",
        "Café molido 250 g",
        "",
        "イヤホン",
        "<p>Garden&nbsp;hose</p>",
        "none",
        "😀" * 50,
        "x" * 5000,
    ]
    table = pd.DataFrame(
        {"query": rng.choice(queries, 1000), "product_title": rng.choice(titles, 1000)}
    )
    table["own id"] = np.arange(1000)[::-1]
    table.to_csv(tmp_path / "rows.csv", index=False, encoding="utf-16")
    where = ("predict", tmp_path / "rows.csv", "-w", finished.root)
    result = comp(*where, "--encoding", "utf-16", "--out", tmp_path / "said.parquet")
    assert result.exit_code == 0, result.output
    assert "has no product_brand, product_color" in result.stderr
    assert "say nothing of their product" in result.stderr
    assert "1,000 rows, 48 of them distinct" in result.output  # 6 queries times 8 titles
    scored = pd.read_parquet(tmp_path / "said.parquet")
    assert scored["own id"].tolist() == [str(number) for number in table["own id"]]
    assert np.isfinite(scored["score"]).all()
    assert scored["score"].between(0, 1).all()
    assert (scored.groupby(["query", "product_title"])["score"].nunique() == 1).all()
    sentence = refused(*where)
    assert "is not utf-8" in sentence
    assert "--encoding" in sentence


def test_one_row_is_enough(finished: Workspace, tmp_path: Path) -> None:
    pd.DataFrame({"query": ["usb cable"], "product_title": ["USB cable"]}).to_parquet(
        tmp_path / "row.parquet"
    )
    for run in ("lexical", "c1"):
        assert (
            comp("predict", tmp_path / "row.parquet", "--from", run, "-w", finished.root).exit_code
            == 0
        )
        assert len(pd.read_parquet(tmp_path / f"row-{run}.parquet")) == 1


def test_what_cannot_be_done_is_refused_before_anything_is_written(
    finished: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,product_title\nusb,USB\n", encoding="utf-8")
    where = ("predict", path, "-w", finished.root)
    assert "is the input file itself" in refused(*where, "--out", path)
    assert "ends in neither .csv nor .parquet" in refused(*where, "--out", tmp_path / "said.txt")
    assert "There is no recipe 'c9'" in refused(*where, "--from", "c9")
    assert "There is no locale 'fr': known are us, es, jp" in refused(*where, "--locale", "fr")
    path.write_text("query,product_title,score\nusb,USB,1\n", encoding="utf-8")
    assert "The column 'score' is there already" in refused(*where)
    path.write_text("query,product_title\nusb,USB\n,USB\n", encoding="utf-8")
    assert "row 2 has an empty query (1 such rows)" in refused(*where)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


# --- from Python
# -------------------------------------------------------------------------------------------------

TITLES = ["USB cable 2 m", "Garden hose", "USB charger", ""]


@pytest.fixture(scope="module")
def c1(finished: Workspace) -> Scorer:
    return competition.load("c1", finished.root)


def test_scores_are_expected_gains_of_the_probabilities(c1: Scorer) -> None:
    classes = c1.classify("usb cable", TITLES)
    assert list(classes) == ["predicted_label", *(f"p_{label}" for label in LABELS)]
    probabilities = classes.iloc[:, 1:].to_numpy(np.float64)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(4))
    assert classes["predicted_label"].tolist() == [
        LABELS[best] for best in probabilities.argmax(axis=1)
    ]
    expected = probabilities @ np.array([1.0, 0.1, 0.01, 0.0])
    assert c1.score("usb cable", TITLES) == pytest.approx(expected, rel=1e-5)


def test_a_row_is_told_the_same_wherever_it_stands_and_however_often(c1: Scorer) -> None:
    once = c1.score("usb cable", TITLES)
    order = [2, 0, 0, 3, 1, 2]
    again = c1.score("usb cable", [TITLES[i] for i in order])
    assert again == pytest.approx(once[order], rel=1e-5)
    assert again[1] == again[2]
    assert again[0] == again[5]
    assert c1.score(["usb cable"], TITLES[:1]) == pytest.approx(once[:1], rel=1e-5)


def test_a_frame_says_more_of_a_product_than_its_title(c1: Scorer) -> None:
    frame = pd.DataFrame({"product_title": TITLES, "product_bullet_point": "usb cable black"})
    assert (c1.score("usb cable", frame) != c1.score("usb cable", TITLES)).any()


def test_a_run_that_ranks_nothing_or_knows_no_classes_says_so(finished: Workspace) -> None:
    with pytest.raises(
        InputError, match="'t3' predicts substitute, which ranks nothing: use `classify`"
    ):
        competition.load("t3", finished.root).score("a", ["b"])
    with pytest.raises(InputError, match="'r2' predicts gain and no classes: use `score`"):
        competition.load("r2", finished.root).classify("a", ["b"])
    answers = competition.load("t3", finished.root).classify("usb cable", TITLES)
    scored = np.where(answers["p_substitute"] > 0.5, "substitute", "no_substitute")
    assert answers["predicted_substitute"].tolist() == scored.tolist()
