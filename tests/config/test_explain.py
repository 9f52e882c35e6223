"""Recipes explained: which keys differ, and where each comes from."""

from pathlib import Path

import pytest

from competition.config.explain import DEFAULT, ExplainedRecipe, explain_recipe
from competition.config.loading import load_recipe
from competition.config.settings import load_settings
from competition.core.workspace import Workspace
from tests.conftest import comp, refused
from tests.esci import CONTEST

SETTINGS = 'preset = "tiny"\nseed = 7\n[overrides]\nmixup = 0.0\nmax_length = 48\nscheme = "five"\n'
OWN = 'description = "mine"\nkind = "gain"\nlearning_rate = 0.001\nema = 0.0\nmixup = 0.3\n'


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with a recipe of its own and overrides."""
    (tmp_path / "competition.toml").write_text(SETTINGS)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text(OWN)
    return Workspace.open(tmp_path)


def explained(space: Workspace, name: str) -> ExplainedRecipe:
    return explain_recipe(space, load_settings(space), CONTEST, name)


def test_each_key_says_where_it_comes_from(space: Workspace) -> None:
    keys = {key.name: key for key in explained(space, "mine").keys}
    sources = {
        "kind": "recipes/mine.toml",
        "learning_rate": "recipes/mine.toml",  # goes before the preset's
        "encoder": "preset tiny",
        "max_length": "[overrides]",  # goes before the preset's
        "mixup": "[overrides]",
        "seed": "competition.toml",
        "batch_size": DEFAULT,
    }
    assert {name: keys[name].source for name in sources} == sources
    assert keys["learning_rate"].default == 5e-4
    assert keys["max_length"].default == 64
    assert keys["seed"].default == 7


def test_only_what_somebody_changed_differs(space: Workspace) -> None:
    # `ema` is what it would be anyway, `mixup` is overridden to what it would be, `loss` follows
    # from the kind.
    assert explained(space, "mine").differing == {
        "kind": "gain",
        "learning_rate": 0.001,
        "max_length": 48,
    }


def test_the_values_are_those_of_the_recipe(space: Workspace) -> None:
    settings = load_settings(space)
    for name in ("mine", "c1", "lexical", "blend", "pretrained", "six-model.greedy.can"):
        whole = load_recipe(space, settings, CONTEST, name).model_dump(
            mode="json", exclude={"name", "description", "model"}
        )
        assert {key.name: key.value for key in explained(space, name).keys} == whole


def test_a_variant_differs_from_what_it_varies(space: Workspace) -> None:
    found = explained(space, "six-model.greedy.can")
    assert found.differing == {
        "members": ["c1", "c2", "c3", "r1", "r2", "r3"],
        "method": "greedy",
        "can": True,
    }
    sources = {key.name: key.source for key in found.keys}
    assert sources["method"] == "variant .greedy.can"
    assert sources["members"] == "recipes/six-model.toml"


def test_all_recipes_are_listed(space: Workspace) -> None:
    result = comp("recipes", "-w", space.root)
    assert result.exit_code == 0
    for name in ("mine", "c1", "r3", "blend", "pretrained"):
        assert f"\n{name} " in result.output
    assert "the published ensemble for task 1: c1 c2 c3 r1 r2 r3" in result.output
    assert max(len(line) for line in result.output.splitlines() if "│" in line) <= 80


def test_one_recipe_is_shown_key_by_key(space: Workspace) -> None:
    result = comp("recipes", "mine", "-w", space.root)
    assert result.exit_code == 0
    assert 'mine, model = "encoder": mine' in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("learning_rate ")]
    assert [cell.strip() for cell in line.split("│")] == [
        "learning_rate",
        "0.001",
        "recipes/mine.toml",
        "0.0005",
    ]
    assert "did you mean 'mine'" in refused("recipes", "mina", "-w", space.root)
