"""A fitted ensemble that was written and read again answers as it did, to the last bit."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.models.ensemble.crossfit import cross_fit
from competition.models.ensemble.members import Member
from competition.models.ensemble.results import Answered
from competition.models.ensemble.saved import load_fitted, save_fitted
from tests.esci import ANSWER_KIND, TASKS
from tests.models.ensemble.made import (
    folds_of,
    make_examples,
    make_members,
    nested_members,
    recipe_of,
)

CASES: list[tuple[str, Mapping[str, object]]] = [
    ("task2", {"method": "paper", "can": True, "thresholds": "macro-F1"}),
    ("task1", {"method": "search", "space": "rank", "per_locale": True}),
    ("task2", {"method": "greedy"}),
    ("task1", {"method": "logistic"}),
    ("task2", {"method": "logistic", "nested": True}),
    ("task3", {"method": "lightgbm", "thresholds": "micro-F1"}),
    ("task1", {"method": "lambdarank", "nested": True}),
    ("task2", {"method": "mixed", "can": True}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "keys"), CASES)
def test_what_was_saved_answers_as_what_was_fitted(
    task: str, keys: Mapping[str, object], tmp_path: Path
) -> None:
    examples = make_examples(25, 6)
    members = (nested_members if keys.get("nested") else make_members)(task, examples)
    # The first stands for the lexical baseline, which a mixture reads as it is.
    members[0] = replace(members[0], lexical=True)
    recipe = recipe_of(**keys)
    drawn = np.random.default_rng(0).gamma(1.0, size=(len(examples), 3)).round(1)
    text = pd.DataFrame(drawn, index=examples["example_id"], columns=["a", "b", "c"])
    text_read = text if recipe.stacks else None
    fitted = cross_fit(
        TASKS[task], ANSWER_KIND[task], members, examples, folds_of(examples), recipe, text_read
    )
    save_fitted(tmp_path / "fitted", [each.fitted for each in fitted.results], "made from this")

    loaded = load_fitted(tmp_path / "fitted", TASKS[task], "made from this")
    assert loaded is not None
    tests = examples[examples["split"] == "test"].reset_index(drop=True)
    # Nothing is there that it could be fitted to.
    alone = [Member(m.name, m.kind, {}, m.test, m.lexical) for m in members]
    rows = Answered(TASKS[task], ANSWER_KIND[task], recipe, alone, tests, text_read)
    for fold, result in zip(loaded, fitted.results, strict=True):
        assert fold.answer(rows).tolist() == result.test.tolist()


def test_other_inputs_and_damage_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "fitted"
    examples = make_examples(10, 2)
    members = make_members("task2", examples)
    recipe = recipe_of("paper")
    fitted = cross_fit(
        TASKS["task2"], ANSWER_KIND["task2"], members, examples, folds_of(examples), recipe
    )
    assert load_fitted(folder, TASKS["task2"], "x") is None
    save_fitted(folder, [each.fitted for each in fitted.results], "x")
    assert load_fitted(folder, TASKS["task2"], "y") is None
    assert load_fitted(folder, TASKS["task2"], "x") is not None
    content = folder / "fitted.json"
    content.write_text(content.read_text().replace("0.3", "0.4"))
    assert load_fitted(folder, TASKS["task2"], "x") is None
    assert not list(folder.glob("*.pkl"))
