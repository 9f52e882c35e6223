"""`comp ablate noise`: every row is scored on all held-out rows, and the flawed protocol beside it on what is left."""

from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused
from tests.esci import CONTEST, LABELS, TASKS

pytestmark = pytest.mark.slow

ROWS = ("keep", "drop", "weight", "relabel", "distil")
CLASSES = [f"p_{label}" for label in LABELS]


def ablate(workspace: Workspace, *arguments: str) -> str:
    result = comp("ablate", "noise", "--recipe", "lexical", *arguments, "-w", workspace.root)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the table, plain and nested."""
    workspace = make_workspace(
        tmp_path_factory.mktemp("ablated") / "w", queries=90, settings=LEXICAL_ALONE
    )
    assert "is approximate" in ablate(workspace)
    assert "is approximate" not in ablate(workspace, "--nested")
    return workspace


def table(workspace: Workspace, nested: bool) -> pd.DataFrame:
    name = "noise-lexical-nested" if nested else "noise-lexical"
    return pd.read_csv(workspace.ablation(name, None)).set_index(["task", "row"])


def run(row: str, nested: bool) -> str:
    return f"ablate-lexical-{row}{'-nested' if nested and row != 'keep' else ''}-2022"


def hits(workspace: Workspace, name: str) -> pd.Series:
    """Whether the most probable class of each held-out row is its label, by example_id."""
    outputs = pd.concat(
        [pd.read_parquet(workspace.oof_fold(name, fold)) for fold in range(5)]
    ).set_index("example_id")
    labels = pd.read_parquet(workspace.examples).set_index("example_id").loc[outputs.index, "label"]
    return outputs[CLASSES].idxmax(axis=1).str.removeprefix("p_") == labels


@pytest.mark.parametrize("nested", [False, True])
def test_every_row_is_scored_on_all_held_out_rows(ablated: Workspace, nested: bool) -> None:
    found = table(ablated, nested)
    examples = pd.read_parquet(ablated.examples)
    train = examples[examples["split"] == "train"]
    scores = {}
    for row in ROWS:
        right = hits(ablated, run(row, nested))
        assert sorted(right.index) == sorted(train["example_id"])
        scores[row] = right.mean()
        assert found.loc[("task2", row), "score"] == pytest.approx(scores[row], abs=1e-12)
        assert found.loc[("task2", row), "queries"] == train["query_id"].nunique()
        if row != "keep":
            assert found.loc[("task2", row), "minus_first"] == pytest.approx(
                scores[row] - scores["keep"], abs=1e-12
            )
    assert len(set(scores.values())) > 1
    for task in TASKS:
        assert set(found.loc[task].index) >= {*ROWS}


def test_plain_and_nested_rows_differ_and_share_the_first(ablated: Workspace) -> None:
    plain, nested = table(ablated, False), table(ablated, True)
    assert plain.loc[("task2", "keep"), "score"] == nested.loc[("task2", "keep"), "score"]
    for row in ROWS[1:]:
        one, other = (
            pd.read_parquet(ablated.oof_fold(run(row, each), 0)) for each in (False, True)
        )
        assert (one["example_id"] == other["example_id"]).all()
        assert not one.equals(other)


@pytest.mark.parametrize("nested", [False, True])
def test_the_flawed_protocol_is_scored_on_what_the_audit_leaves(
    ablated: Workspace, nested: bool
) -> None:
    found = table(ablated, nested)
    flags = pd.read_parquet(ablated.noise("ablate-lexical-keep-2022"))
    dropped = flags.loc[flags["dropped"], "example_id"]
    assert len(dropped) > 0
    whole = hits(ablated, run("keep", nested)).mean()
    for row in ROWS:
        right = hits(ablated, run(row, nested))
        line = found.loc[("task2, without pruned rows", row)]
        left = right[~right.index.isin(dropped)].mean()
        assert line["score"] == pytest.approx(left, abs=1e-12)
        assert line["minus_unpruned"] == pytest.approx(left - right.mean(), abs=1e-12)
        assert line["minus_first"] == pytest.approx(left - whole, abs=1e-12)
    # A row that nothing was changed for looks better: the rows that are left are those that its
    # audit agreed with.
    assert found.loc[("task2, without pruned rows", "keep"), "minus_unpruned"] > 0


def test_the_ranking_without_pruned_rows_by_hand(ablated: Workspace) -> None:
    import numpy as np

    flags = pd.read_parquet(ablated.noise("ablate-lexical-keep-2022"))
    outputs = pd.concat(
        [pd.read_parquet(ablated.oof_fold(run("keep", False), fold)) for fold in range(5)]
    )
    rows = pd.read_parquet(ablated.examples).merge(outputs, on="example_id")
    rows = rows[rows["task1"] & ~rows["example_id"].isin(flags.loc[flags["dropped"], "example_id"])]
    rows["score"] = CONTEST.labels.expected_gain(rows[CLASSES].to_numpy())
    rows["gain"] = rows["label"].map(
        {"exact": 1.0, "substitute": 0.1, "complement": 0.01, "irrelevant": 0.0}
    )
    values = []
    for _, query in rows.groupby("query_id"):
        ranked = query.sort_values(["score", "product_id"], ascending=[False, True])[
            "gain"
        ].to_numpy()
        discount = 1 / np.log2(np.arange(len(ranked)) + 2)
        if ranked.sum() > 0:
            values.append((ranked @ discount) / (np.sort(ranked)[::-1] @ discount))
    line = table(ablated, False).loc[("task1, without pruned rows", "keep")]
    assert line["score"] == pytest.approx(np.mean(values), abs=1e-9)


def test_a_second_call_trains_nothing(ablated: Workspace) -> None:
    assert "train " not in ablate(ablated)
    assert "train " not in ablate(ablated, "--nested")


def test_seeds_have_audits_of_their_own(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", queries=60, settings=LEXICAL_ALONE)
    printed = ablate(workspace, "--seeds", "2")
    assert "audit ablate-lexical-keep-2022" in printed
    assert "audit ablate-lexical-keep-2023" in printed
    found = pd.read_csv(workspace.ablation("noise-lexical", None)).set_index(["task", "row"])
    scores = [hits(workspace, f"ablate-lexical-weight-{seed}").mean() for seed in (2022, 2023)]
    assert found.loc[("task2", "weight"), "score"] == pytest.approx(sum(scores) / 2, abs=1e-12)


def test_an_audit_that_drops_nothing_is_one_line(ablated: Workspace, tmp_path: Path) -> None:
    # It doubts itself on so few rows, which LEXICAL_ALONE overrules.
    settings = LEXICAL_ALONE.replace("noise_despite_doubts = true", "")
    workspace = make_workspace(tmp_path / "w", queries=30, settings=settings)
    printed = ablate(workspace, "--fold", "0")
    assert printed.count("The audit drops no row") == 1
    assert "without the rows that the audit drops (biased" not in printed
    tasks = pd.read_csv(workspace.ablation("noise-lexical", 0))["task"]
    assert set(tasks) == set(TASKS)
    assert "The audit drops no row" not in ablate(ablated)


def test_what_does_not_fit_is_refused(ablated: Workspace) -> None:
    root = ablated.root
    assert "learns from no other run" in refused("ablate", "losses", "--nested", "-w", root)
    assert "'blend', which must be a model made for task2: name another" in refused(
        "ablate", "noise", "--recipe", "blend", "-w", root
    )
    assert "'lexical', which must be an encoder made for task2" in refused(
        "ablate", "losses", "--recipe", "lexical", "-w", root
    )
    assert "is nested and its scheme is 'ten'" in refused(
        "ablate", "noise", "--recipe", "c2", "--nested", "-w", root
    )
