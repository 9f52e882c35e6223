"""Pages of workspaces: a finished one, and one whose text attacks the page and in which little is done."""

from pathlib import Path

import pytest

from competition.core.workspace import Workspace
from competition.data import store, synthetic
from tests.analysis.test_review_page import ATTACKS
from tests.conftest import LEXICAL_ALONE, comp, made_once, make_workspace
from tests.esci import CONTEST


def report_of(workspace: Workspace, file: Path) -> str:
    """The page that the command writes."""
    result = comp("report", "-w", workspace.root, "--out", file)
    assert result.exit_code == 0, result.output
    assert str(file) in result.output.replace("\n", "")
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def finished_page(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a workspace in which everything is done."""
    return made_once(tmp_path_factory, "report.html", lambda file: report_of(finished, file))


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The floor alone, trained on queries and titles that were written to break pages."""
    workspace = make_workspace(tmp_path_factory.mktemp("attacked") / "w", 60, LEXICAL_ALONE)
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    queries = sorted(examples["query_id"].unique())
    for i, query in enumerate(queries):
        rows = examples["query_id"] == query
        examples.loc[rows, "query"] = f"{i} {ATTACKS[i % len(ATTACKS)]}"
    products["title"] = [
        f"{ATTACKS[i % len(ATTACKS)]} {title}" for i, title in enumerate(products["title"])
    ]
    store.save(workspace, CONTEST, examples, products, "attacks")
    result = comp("train", "--recipe", "lexical", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    return workspace
