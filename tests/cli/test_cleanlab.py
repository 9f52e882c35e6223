"""`comp cleanlab`: the page that it writes, and the verdicts that it and training obey."""

import shutil
import webbrowser
from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from tests.conftest import artefacts, comp, make_workspace, refused

pytestmark = pytest.mark.slow

SETTINGS = """
recipes = ["lexical", "late"]
noise_run = "lexical"
noise_despite_doubts = true
ensembles = []
[overrides]
n_estimators = 5
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `lexical` is complete; `late` is the same without the rows that its audit drops."""
    workspace = make_workspace(tmp_path_factory.mktemp("trained") / "w", settings=SETTINGS)
    (workspace.root / "recipes").mkdir()
    (workspace.root / "recipes" / "late.toml").write_text(
        'model = "lexical"\ndrop_noise_from = "lexical"\n'
    )
    assert comp("train", "--recipe", "lexical", "-w", workspace.root).exit_code == 0
    return workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it for one test."""
    return Workspace(shutil.copytree(trained.root, tmp_path / "w"))


def words(output: str) -> str:
    """What was printed, without the ends of lines."""
    return " ".join(output.split())


def test_the_page_is_written_and_opened_when_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)))
    page = workspace.root / "reports" / "noise-lexical.html"
    done = comp("cleanlab", "-w", workspace.root)
    assert done.exit_code == 0
    assert f"{page}: review the worst rows there" in words(done.output)
    assert opened == []
    assert "verdicts.parquet" not in done.output
    first = page.read_bytes()
    again = comp("cleanlab", "--open", "-w", workspace.root)
    assert again.exit_code == 0
    assert opened == [page.resolve().as_uri()]
    assert f"warning: no browser could be opened: open {page} yourself." in again.stderr
    assert page.read_bytes() == first


def test_verdicts_are_kept_and_obeyed_from_then_on(workspace: Workspace, tmp_path: Path) -> None:
    comp("cleanlab", "-w", workspace.root)
    before = pd.read_parquet(workspace.noise("lexical"))
    drop, keep = (
        before.loc[before["dropped"] == dropped, "example_id"].tolist() for dropped in (True, False)
    )
    verdicts = {
        drop[0]: "right",
        keep[0]: "wrong",
        drop[1]: "unsure",
        keep[1]: "unsure",
        keep[2]: "right",
    }
    lines = [f"{row},{verdict}\n" for row, verdict in verdicts.items()]
    file = tmp_path / "verdicts.csv"
    file.write_text("example_id,verdict\n" + "".join(lines))
    twin = Workspace(shutil.copytree(workspace.root, tmp_path / "twin"))

    done = comp("cleanlab", "--verdicts", file, "-w", workspace.root)
    assert done.exit_code == 0
    assert "1 wrong, 2 right, 2 unsure. The audit follows" in words(done.output)
    after = pd.read_parquet(workspace.noise("lexical"))
    assert set(after.loc[after["dropped"], "example_id"]) == {*drop[1:], keep[0]}
    reviewed = {drop[0]: 1.0, keep[0]: 0.0, keep[2]: 1.0}
    quality = before["example_id"].map(reviewed).fillna(before["quality"])
    pd.testing.assert_frame_equal(
        after.drop(columns="dropped"), before.assign(quality=quality).drop(columns="dropped")
    )
    assert '"wrong"]' in (workspace.root / "reports" / "noise-lexical.html").read_text()

    file.unlink()  # what training obeys is in the workspace
    assert comp("cleanlab", "-w", workspace.root).exit_code == 0
    assert comp("run", "-w", workspace.root).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(workspace.noise("lexical")), after)

    file.write_text("example_id,verdict\n" + "".join(reversed(lines)))
    assert comp("cleanlab", "--verdicts", file, "-w", twin.root).exit_code == 0
    assert comp("run", "-w", twin.root).exit_code == 0
    assert artefacts(twin.root) == artefacts(workspace.root)
    workspace.reviews("lexical").unlink()
    assert comp("cleanlab", "-w", workspace.root).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(workspace.noise("lexical")), before)


def test_a_wrong_file_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    comp("cleanlab", "-w", workspace.root)
    examples = pd.read_parquet(workspace.examples)
    test_row = examples.loc[examples["split"] == "test", "example_id"].iloc[0]
    before = artefacts(workspace.root)
    file = tmp_path / "verdicts.csv"
    file.write_text(f"example_id,verdict\n{test_row},wrong\n")
    sentence = refused("cleanlab", "--verdicts", file, "-w", workspace.root)
    assert "row 1 " in sentence
    assert "is not among the rows that the audit covers" in sentence
    assert artefacts(workspace.root) == before
