"""What a run reads of new rows is what it reads of test rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import competition
from competition.core.errors import CompError, InputError
from competition.core.workspace import Workspace
from competition.data.query_context import SEPARATOR, with_context
from competition.models.lexical.bm25 import bm25_features
from competition.models.lexical.text_features import text_features
from competition.pipeline.new_rows import NewRows
from competition.pipeline.predict_new import PreparedRows
from competition.pipeline.steps import Pipeline
from tests.conftest import make_workspace
from tests.esci import CONTEST


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Data, and nothing trained."""
    return make_workspace(tmp_path_factory.mktemp("scoring") / "w")


def test_new_rows_are_read_as_test_rows_are(workspace: Workspace) -> None:
    """Test rows that are brought as new ones get the context and the features that they have in the workspace."""
    tables = Pipeline(workspace).tables
    tests = tables.examples[tables.examples["split"] == "test"]
    table = tests.merge(
        tables.products, on=["locale", "product_id"], how="left", validate="many_to_one"
    )
    rows = NewRows.make(table, "test rows", CONTEST)
    prepared = PreparedRows(rows, tables)
    context = with_context(tables.examples, tables.products, CONTEST).loc[tests.index, "query"]
    assert prepared.with_context["query"].iloc[rows.of_row].tolist() == context.tolist()
    assert context.str.contains(SEPARATOR, regex=False).any()
    features = [
        make(tables.examples, tables.products, CONTEST) for make in (text_features, bm25_features)
    ]
    expected = pd.concat(features, axis=1).loc[tests["example_id"]]
    assert list(prepared.text) == list(expected)
    np.testing.assert_allclose(
        prepared.text.to_numpy()[rows.of_row], expected.to_numpy(), rtol=1e-6
    )


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, competition; print(sorted({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_run_that_cannot_answer_is_refused_with_the_command(
    workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(
        CompError,
        match=r"fold-0 is missing or out of date: `comp train --recipe lexical` builds it",
    ):
        competition.load("lexical", workspace.root)
    with pytest.raises(CompError, match=r"tiny is missing: `comp train --recipe t2` rebuilds it"):
        competition.load("t2", workspace.root)
    with pytest.raises(InputError, match="say which, blend-task1"):
        competition.load("blend", workspace.root)
    with pytest.raises(InputError, match="reads in which tasks' lists a row is"):
        competition.load("blend.leaky-task1", workspace.root)
    with pytest.raises(InputError, match="There is no recipe 'c9'"):
        competition.load("c9", workspace.root)
    with pytest.raises(InputError, match="is not a workspace"):
        competition.load("c1", tmp_path)
