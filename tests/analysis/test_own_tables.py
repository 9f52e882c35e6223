"""Tables of a user's own through `comp ablate FILE`."""

from pathlib import Path

import pandas as pd
import pytest

from competition.config.ablation_tables import load_table, table_names
from competition.core.workspace import Workspace
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused

OWN = """
recipe = "lexical"
compare = "first"
keys = { n_estimators = 4 }

[[row]]
name = "plain"

[[row]]
name = "few-leaves"
set = { num_leaves = 3 }

[[row]]
name = "taught"
set = { distill_from = "@first" }
"""
PRETRAINED = """
recipe = "c1"
[[row]]
name = "short"
pretraining = { epoch = 1 }
"""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace of 30 queries."""
    return make_workspace(tmp_path / "w", queries=30, settings=LEXICAL_ALONE)


def test_rows_are_recipes_of_the_file(space: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text(OWN)
    result = comp("ablate", file, "-w", space.root)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(space.ablation("leaves", None))

    # All three tasks that the rows answer, each with its baseline.
    assert table.groupby("task").size().to_dict() == {"task1": 4, "task2": 4, "task3": 4}
    runs = {path.name for path in space.oof.iterdir() if path.is_dir()}
    assert runs == {
        f"ablate-leaves-lexical-{row}-2022" for row in ("plain", "few-leaves", "taught")
    }
    # The one row that learns from labels of the scored fold is called so, whatever it learns them from.
    taught = "taught is approximate: labels reached it through its teacher"
    assert taught in " ".join(result.output.split())
    assert result.output.count("is approximate") == 1

    # Its keys go before [overrides], which say 15 trees.
    card = (space.root / "oof" / "ablate-leaves-lexical-plain-2022" / "run.json").read_text()
    assert '"n_estimators": 4' in card


def test_cumulative_rows_keep_what_those_above_them_set(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(OWN.replace('compare = "first"', "cumulative = true"))
    sets = [row.set for row in load_table(str(file)).table.rows]
    assert sets == [
        {"n_estimators": 4},
        {"n_estimators": 4, "num_leaves": 3},
        {"n_estimators": 4, "num_leaves": 3, "distill_from": "@first"},
    ]


def test_what_is_wrong_in_a_table_is_named(space: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"

    def sentence(old: str, new: str) -> str:
        file.write_text(OWN.replace(old, new))
        return refused("ablate", file, "-w", space.root)

    row = f"{file}, row 'few-leaves': "
    assert sentence("num_leaves", "num_leafs") == (
        f"{row}unknown key 'num_leafs' (did you mean 'num_leaves'?)."
    )
    assert sentence("num_leaves = 3", "num_leaves = 1").startswith(
        f"{row}num_leaves = 1 does not fit"
    )
    assert sentence("num_leaves = 3", "epochs = 3, name = 'x'").startswith(f"{row}'name' is not")
    assert "leave out `seed`" in sentence("num_leaves = 3", "seed = 3")
    assert "two rows are called 'plain'" in sentence("few-leaves", "plain")
    assert "unknown key 'recpe'" in sentence("recipe", "recpe")
    assert "cannot learn from '@first'" in sentence(
        'name = "plain"', 'name = "plain"\nset = { distill_from = "@first" }'
    )
    assert "There is no task 'task9'" in sentence("compare", 'tasks = ["task9"]\ncompare')
    assert "There is no file" in refused("ablate", "none.toml", "-w", space.root)

    file.write_text(PRETRAINED)
    assert refused("ablate", file, "-w", space.root) == (
        f"{file}, row 'short', pretraining: unknown key 'epoch' (did you mean 'epochs'?)."
    )

    file.write_text(PRETRAINED.replace('"c1"', '"lexical"'))
    assert "'lexical' has none: name another recipe" in refused("ablate", file, "-w", space.root)

    mine = tmp_path / "losses.toml"
    mine.write_text(OWN)
    assert "is called like a table of the package" in refused("ablate", mine, "-w", space.root)


@pytest.mark.parametrize("name", table_names())
def test_tables_of_the_package_say_what_they_are_about(name: str) -> None:
    assert load_table(name).table.description


def test_a_plus_in_the_name_of_the_audited_row_is_refused(space: Workspace, tmp_path: Path) -> None:
    """A plus joins the runs of an audit."""
    file = tmp_path / "x.toml"
    followed = OWN.replace('"plain"', '"a+b"').replace("distill_from", "drop_noise_from")
    file.write_text(followed)
    told = refused("ablate", file, "-w", space.root)
    assert "rows follow the audit of 'ablate-x-lexical-a+b-2022', whose '+' would name two" in told
    assert not space.oof.exists()
