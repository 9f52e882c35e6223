"""Parts of a workspace that were made elsewhere: taken where they fit, refused by name where they do not."""

import shutil
from pathlib import Path

import pytest

from competition.core.parquet import read_table, write_table
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from tests.conftest import LEXICAL_ALONE, artefacts, comp, make_workspace, refused

FOLDS = "train lexical fold {}"
# An ensemble that is fitted at once.
SETTINGS = 'ensembles = ["blend.paper"]' + LEXICAL_ALONE


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty workspace, and two copies of which each has trained some folds."""
    folder = tmp_path_factory.mktemp("parts")
    empty = make_workspace(folder / "empty", settings=SETTINGS).root
    for name, folds in (("one", range(3)), ("two", range(2, 5))):
        shutil.copytree(empty, folder / name)
        words = [word for k in folds for word in ("--step", FOLDS.format(k))]
        assert comp("run", *words, "-w", folder / name).exit_code == 0
    return folder


@pytest.fixture
def copied(parts: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return Path(shutil.copytree(parts, tmp_path / "parts"))


@pytest.mark.slow
def test_parts_make_the_bytes_of_one_machine(copied: Path) -> None:
    whole, one, two = (copied / name for name in ("empty", "one", "two"))
    # A part needs no tables, only their card.
    for table in ("examples", "products"):
        (two / "data" / f"{table}.parquet").unlink()

    result = comp("merge", one, two, "-w", whole)
    assert result.exit_code == 0, result.output
    # Five trainings with their test rows, folds and features of text; two parts have fold 2.
    assert f"{2 * 5 + 2} steps taken, 0 there already with the same bytes." in result.output
    assert f"Next: comp run -w {whole} makes the rest." in result.output
    again = comp("merge", one, "-w", whole)
    assert f"0 steps taken, {2 * 3 + 2} there already" in again.output

    # Nothing of it is trained again.
    rest = comp("run", "-w", whole)
    assert rest.exit_code == 0
    assert "] train" not in rest.output
    assert comp("run", "-w", one).exit_code == 0
    assert artefacts(whole) == artefacts(one)


def test_what_does_not_fit_is_refused_by_name_and_nothing_is_copied(copied: Path) -> None:
    whole, one, two = (copied / name for name in ("empty", "one", "two"))
    file = Workspace(two).oof_fold("lexical", 2)
    good = file.read_bytes()

    def refusal() -> str:
        sentence = refused("merge", one, two, "-w", whole)
        assert artefacts(whole) == {}
        return sentence

    file.write_bytes(good[:-100] + bytes(100))
    damaged = refusal()
    assert "has what cannot be taken, train lexical fold 2 (damaged)" in damaged
    assert str(file) in damaged
    file.write_bytes(good)

    model = next(
        path for path in Workspace(two).model("lexical", 3).iterdir() if path.suffix == ".txt"
    )
    text = model.read_bytes()
    model.write_bytes(text + b"\n")
    assert "train lexical fold 3 (damaged)" in refusal()
    model.write_bytes(text)

    # Another number of trees: what is there is stale in its own folder, then foreign to this one.
    settings = two / "competition.toml"
    settings.write_text(SETTINGS.replace("= 15", "= 16"), encoding="utf-8")
    assert "train lexical fold 2 (out of date)" in refusal()
    assert comp("run", "--step", FOLDS.format(2), "-w", two).exit_code == 0
    for fold in range(3, 5):
        Workspace(two).oof_fold("lexical", fold).unlink()
        Workspace(two).test_fold("lexical", fold).unlink()
    assert "train lexical fold 2 of" in (foreign := refusal())
    assert "is made from another recipe or other settings than those here" in foreign


def test_other_rows_other_bytes_and_no_parts_are_refused(copied: Path, tmp_path: Path) -> None:
    whole, one, two = (copied / name for name in ("empty", "one", "two"))
    other = make_workspace(tmp_path / "other", queries=61, settings=SETTINGS).root
    assert "has other training rows than" in refused("merge", other, "-w", whole)
    assert "is this workspace" in refused("merge", whole, "-w", whole)
    assert "is not a workspace" in refused("merge", tmp_path, "-w", whole)

    # The same inputs with other bytes, as from another device.
    theirs = Workspace(two)
    run = Pipeline(theirs)
    (step,) = (each for each in run.steps() if each.name == FOLDS.format(2))
    table = read_table(step.files[0], step.fingerprint)
    write_table(step.files[0], table.assign(p_exact=table["p_exact"] + 1e-7), step.fingerprint)
    sentence = refused("merge", one, two, "-w", whole)
    assert f"train lexical fold 2 was made both in {two} and in {one}" in sentence
    assert "(oof/lexical/fold-2.parquet)" in sentence
    assert artefacts(whole) == {}
