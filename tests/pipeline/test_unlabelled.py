"""Unlabelled rows at the border: a pair that is there twice."""

from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused
from tests.esci import KINDS

TEXTS = {"query": ["cup", "lamp", "cup"], "product_title": ["A cup", "A lamp", "A cup"]}


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "w", queries=30, settings=LEXICAL_ALONE)


def rows(folder: Path, last: float) -> Path:
    """Three rows, of which the last repeats the first, with probabilities of their own."""
    frame = pd.DataFrame(TEXTS)
    for place, name in enumerate(KINDS["classes"].outputs):
        frame[name] = [0.25, 0.25, last if place == 0 else (1 - last) / 3]
    path = folder / "pairs.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_pair_that_is_repeated_is_kept_once_and_said(space: Workspace, tmp_path: Path) -> None:
    result = comp("data", "import-unlabelled", rows(tmp_path, 0.25), "-w", space.root)
    assert result.exit_code == 0, result.output
    assert "2 unlabelled pairs." in result.stdout
    assert "pairs.csv: 1 row repeats a pair above, which is there once." in result.stderr


def test_a_pair_that_is_repeated_with_other_outputs_is_refused(
    space: Workspace, tmp_path: Path
) -> None:
    told = refused("data", "import-unlabelled", rows(tmp_path, 0.7), "-w", space.root)
    assert "pairs.csv: row 3 repeats the pair of row 1 with other outputs" in told
    assert not space.unlabelled.exists()


def test_a_single_pair_is_one_pair(space: Workspace, tmp_path: Path) -> None:
    pd.DataFrame(TEXTS).iloc[:1].to_csv(tmp_path / "one.csv", index=False)
    result = comp("data", "import-unlabelled", tmp_path / "one.csv", "-w", space.root)
    assert "1 unlabelled pair. File: " in result.stdout


def test_outputs_under_other_names_are_said_not_to_be_read(
    space: Workspace, tmp_path: Path
) -> None:
    """Some of a teacher's probabilities are none, and would be left out in silence."""
    frame = pd.DataFrame(TEXTS).iloc[:2].assign(p_exact=0.5, Substitute=0.5)
    frame.to_csv(tmp_path / "some.csv", index=False)
    result = comp("data", "import-unlabelled", tmp_path / "some.csv", "-w", space.root)
    assert "some.csv: columns that were not read: p_exact, Substitute." in result.stderr
