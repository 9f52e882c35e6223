"""A workspace's health: what is well, what stops, and what mends it."""

import fcntl
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from competition.analysis import environment
from competition.analysis.environment import Check
from competition.core.parquet import read_fingerprint, read_table, write_table
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused
from tests.esci import CONTEST


@pytest.fixture
def space(finished: Workspace, tmp_path: Path) -> Workspace:
    """A finished workspace that may be spoiled."""
    shutil.copytree(finished.root, tmp_path / "w")
    return Workspace.open(tmp_path / "w")


def health(space: Workspace, exit_code: int) -> dict[str, dict[str, str]]:
    """What the doctor finds, by what was looked at."""
    result = comp("doctor", "--json", "-w", space.root)
    assert result.exit_code == exit_code, result.output
    (table,) = json.loads(result.stdout)["tables"]
    assert table["about"]["stops"] == sum(row["level"] == "stop" for row in table["rows"])
    return {row["what"]: row for row in table["rows"]}


def test_all_is_well_in_a_finished_workspace(finished: Workspace) -> None:
    found = health(finished, 0)
    assert {row["level"] for row in found.values()} == {"well"}
    runs = {"lexical", "c1", "r2", "t3", "blend-task1", "blend-task2", "blend-task3"}
    assert runs | {
        "Python",
        "packages",
        "device",
        "precision",
        "disk",
        "data",
        "folds five",
        "steps",
    } == set(found)
    assert "no query text is in two of them" in found["folds five"]["said"]
    assert "Ready: `comp run` will work." in comp("doctor", "-w", finished.root).output


def test_a_folder_without_a_workspace_or_without_data_stops(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "w")
    found = health(space, 1)["workspace"]
    assert found["level"] == "stop"
    assert found["mend"] == f"comp init {space.root}"
    assert comp(*found["mend"].split()[1:]).exit_code == 0
    found = health(space, 1)["data"]
    assert found["mend"] == f"comp data import PATH -w {space.root}"


def test_an_audit_that_labels_do_not_allow_is_foretold(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "w")
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    two = examples["label"].mask(examples["label"] != "exact", "irrelevant")
    substitute = examples["substitute"].mask(examples["substitute"].notna(), False)
    store.save(
        space, CONTEST, examples.assign(label=two, substitute=substitute), products, "two labels"
    )
    found = health(space, 0)["audit c1"]
    assert found["level"] == "look"
    assert found["said"] == (
        "it is skipped, and training goes on without it. "
        "No audited row is labelled 'substitute': an audit needs rows of every label."
    )


def test_a_cpu_with_bf16_says_what_computes_in_it(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        environment,
        "find_device",
        lambda: environment.Device("cpu", "cpu", "fp32", 2**34, 2**33, 1),
    )
    for known, said in (
        (True, 'fp32, bf16 where a recipe has `precision = "fast"`'),
        (False, "fp32"),
    ):
        monkeypatch.setattr(
            "competition.training.device.computes_in_bf16", lambda _, known=known: known
        )
        assert health(space, 0)["precision"]["said"] == said


def test_a_step_is_one_step(space: Workspace) -> None:
    shutil.rmtree(space.oof_fold("blend-task2", 0).parent)
    assert health(space, 0)["blend-task2"]["said"] == "1 missing, of 1 step"


def test_too_few_queries_for_five_folds_stop(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "w")
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    two = examples.loc[examples["split"] == "train", "query_id"].unique()[:2]
    store.save(
        space,
        CONTEST,
        examples[(examples["split"] == "test") | examples["query_id"].isin(two)],
        products,
        "few",
    )
    found = health(space, 1)["folds five"]
    assert found["level"] == "stop"
    assert "2 training queries are too few, bring more." in found["said"]
    assert "are too few" in refused("run", "-w", space.root)


def test_missing_folds_and_what_is_out_of_date_stop_nothing(space: Workspace) -> None:
    space.oof_fold("t3", 2).unlink()
    space.settings_file.write_text(
        space.settings_file.read_text().replace("n_estimators = 20", "n_estimators = 21")
    )
    found = health(space, 0)
    assert (found["t3"]["level"], found["t3"]["said"]) == ("look", "1 missing, of 10 steps")
    assert found["lexical"]["said"] == "10 out of date, of 10 steps"
    assert {row["mend"] for row in found.values()} == {
        "",
        f"comp run -w {space.root}",
    }  # which mends all of them


def test_a_row_in_another_fold_stops(space: Workspace) -> None:
    first, second = (space.oof_fold("c1", k) for k in range(2))
    (one, made_one), (other, made_other) = (
        (read_table(path, made), made)
        for path in (first, second)
        if (made := read_fingerprint(path))
    )
    one.loc[0, "example_id"], other.loc[0, "example_id"] = (
        other.loc[0, "example_id"],
        one.loc[0, "example_id"],
    )
    write_table(first, one, made_one)
    write_table(second, other, made_other)
    found = health(space, 1)["c1"]
    assert found["level"] == "stop"
    assert "folds/five.parquet puts elsewhere" in found["said"]
    assert (
        found["mend"]
        == f"rm {space.run('c1')}/fold-*.parquet; comp train --recipe c1 -w {space.root}"
    )


def test_folds_that_leak_stop(space: Workspace) -> None:
    path = space.folds("five")
    made = str(read_fingerprint(path))
    folds = read_table(path, made)
    write_table(path, folds.iloc[1:], made)
    found = health(space, 1)["folds five"]
    assert "has no fold" in found["said"]
    assert found["mend"] == f"rm {path}; comp folds -w {space.root}"


def test_an_interrupted_import_and_half_written_files_are_named(space: Workspace) -> None:
    (space.oof / "c1" / ".fold-0.parquet.999999.tmp").write_bytes(b"half")
    space.data_card.unlink()
    found = health(space, 1)
    assert "1 half-written files or folders" in found["unfinished"]["said"]
    assert found["data"]["level"] == "stop"
    assert "comp data import PATH" in found["data"]["mend"]


def test_damaged_rows_stop_and_no_run_is_blamed_for_them(space: Workspace) -> None:
    os.truncate(space.examples, 100)
    stops = {what: row for what, row in health(space, 1).items() if row["level"] == "stop"}
    assert list(stops) == ["data"]
    assert stops["data"]["said"].startswith(f"{space.examples} cannot be read")
    assert stops["data"]["mend"] == f"comp data import PATH -w {space.root}"


def test_a_folder_in_which_this_user_cannot_write_stops(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(space.root / "reports")  # it would be made
    for folder in (space.run("c1"), space.root):

        def access(path: str | Path, mode: int, folder: Path = folder) -> bool:
            # Root may write anywhere, so modes are not what is changed here.
            return not (Path(path) == folder and mode & os.W_OK)

        monkeypatch.setattr(os, "access", access)
        found = health(space, 1)["rights"]
        assert found["level"] == "stop"
        assert found["said"] == f"this user cannot write in {folder}"


def test_wrong_settings_stop(space: Workspace) -> None:
    space.settings_file.write_text('recipes = ["lexcal"]')
    assert "did you mean 'lexical'" in health(space, 1)["settings"]["said"]


def test_a_lock_that_is_held_is_named(space: Workspace) -> None:
    path = space.root / ".locks" / "train-c1-fold-0.lock"
    path.write_text("4711")
    with path.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert health(space, 0)["lock"]["said"] == "process 4711 works on train-c1-fold-0"
    assert "lock" not in health(space, 0)


def test_packages_outside_of_their_bounds_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"pandas": "2.9"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(environment, "version", version)
    monkeypatch.setattr(
        environment, "requires", lambda _: ["pandas>=3.0", "rich>=14", 'pytest>=9; extra == "dev"']
    )
    assert list(environment._check_packages()) == [
        Check("pandas", "stop", "2.9 is installed, needs pandas>=3.0", "pip install 'pandas>=3.0'"),
        Check("rich", "stop", "is not installed, needs rich>=14", "pip install 'rich>=14'"),
    ]


def test_a_folder_that_is_no_encoder_stops(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    settings = (
        LEXICAL_ALONE.replace('["lexical"]', '["lexical", "c1"]')
        + f'encoder = "{tmp_path / "adapter"}"\n'
    )
    found = health(make_workspace(tmp_path / "w", settings=settings), 1)["encoder"]
    assert found["level"] == "stop"
    assert "holds an adapter (adapter_config.json)" in found["said"]
