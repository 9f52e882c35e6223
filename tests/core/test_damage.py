"""Artefacts that were changed after they were written are found, and made again or refused by name."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from competition.cli import app
from competition.core.workspace import Workspace
from tests.conftest import LEXICAL_ALONE, artefacts, comp, make_workspace
from tests.processes import forked
from tests.soak.faults import small_workspace

pytestmark = pytest.mark.slow


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Lose the second half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small workspace in which `comp run` has done everything."""
    workspace = small_workspace(tmp_path_factory.mktemp("damage") / "w")
    assert comp("run", "-w", workspace.root).exit_code == 0
    return workspace


def test_whatever_is_damaged_is_made_again(whole: Workspace, tmp_path: Path) -> None:
    """All artefacts but the data at once; a second run finds nothing to do, so each of them was found and mended."""
    root = Path(shutil.copytree(whole.root, tmp_path / "w"))
    made = [
        path
        for folder in ("folds", "oof", "submissions", "reports")
        for path in (root / folder).rglob("*")
    ]
    made += [root / "data" / "text_features.parquet", *(root / "models").rglob("*")]
    files = [
        path
        for path in sorted(made)
        if path.is_file() and path.name not in ("log.jsonl", "leaderboard.csv")
    ]
    for i, path in enumerate(files):
        (flip if i % 2 else cut)(path)
    done = comp("run", "-w", root)
    assert done.exit_code == 0, done.stderr
    assert artefacts(root) == artefacts(whole.root)
    for folder in ("models", "reports"):
        before = [path for path in (whole.root / folder).rglob("*") if path.is_file()]
        assert all(
            (root / path.relative_to(whole.root)).read_bytes() == path.read_bytes()
            for path in before
        )
    assert "Nothing to do" in comp("run", "-w", root).output


@pytest.mark.parametrize("table", ["examples", "products"])
def test_damaged_data_are_refused_by_name(table: str, whole: Workspace, tmp_path: Path) -> None:
    root = Path(shutil.copytree(whole.root, tmp_path / "w"))
    flip(root / "data" / f"{table}.parquet")
    result = comp("data", "-w", root)
    assert result.exit_code == 1
    assert (
        f"{table}.parquet is damaged, its bytes are not those that were written: bring the data again"
        in result.stderr
    )


def test_folds_are_trained_side_by_side(tmp_path: Path) -> None:
    """Two processes that begin at once share the folds' file and the features, and each trains its own fold."""
    workspace = make_workspace(tmp_path / "w", settings=LEXICAL_ALONE)
    command = ("train", "--recipe", "lexical", "-w", str(workspace.root), "--fold")
    with ThreadPoolExecutor() as pool:
        both = pool.map(lambda fold: forked(app, [*command, fold]), "01")
    for ended in both:
        assert ended.codes == [0], ended.stderr
    assert all(workspace.oof_fold("lexical", fold).is_file() for fold in (0, 1))
