"""A fitted ensemble as a folder: numbers as JSON and safetensors, trees as LightGBM's text.

It holds what was learned, and no row: it answers new rows as the ensemble did that was fitted, to
the last bit. JSON keeps numbers as they are, since they are written with all of their digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from safetensors.numpy import load_file, save_file

from competition.core.arrays import Array
from competition.core.atomic import atomic_folder, write_text
from competition.core.json_files import read_json, read_manifest, write_json, write_manifest
from competition.core.threads import cores
from competition.models.ensemble.blending import FittedAverage
from competition.models.ensemble.combinations import Decided, Decisions, FittedMixture
from competition.models.ensemble.design import Ranks, Scale, Standard
from competition.models.ensemble.gbdt import Trees
from competition.models.ensemble.logistic import FittedRegression, Regression
from competition.models.ensemble.results import Combination
from competition.models.ensemble.stacking import FittedTrees
from competition.scoring.task import Task

_CONTENT, _ARRAYS = "fitted.json", "arrays.safetensors"


def save_fitted(folder: Path, folds: Sequence[Combination], inputs: str) -> None:
    """Write what the folds of an ensemble learned, with the fingerprint of what it was made from."""
    writer = _Writer()
    content = [writer.content(fold) for fold in folds]
    with atomic_folder(folder) as temporary:
        for number, trees in enumerate(writer.trees):
            text = trees.booster.model_to_string()
            write_text(temporary / _tree_file(number), text)
        save_file(writer.arrays, temporary / _ARRAYS)
        write_json(
            temporary / _CONTENT,
            {
                "folds": content,
                "scales": writer.scales,
                "trees": [
                    {"ranks": trees.ranks, "classes": trees.classes, "best": trees.best}
                    for trees in writer.trees
                ],
            },
        )
        write_manifest(temporary, inputs)


def load_fitted(folder: Path, task: Task, inputs: str) -> list[Combination] | None:
    """Return what the folds of an ensemble learned; None where it is missing, damaged or of other inputs.

    Args:
        folder: that `save_fitted` wrote.
        task: that the ensemble answers.
        inputs: the fingerprint of what it must have been made from.
    """
    if read_manifest(folder) != inputs:
        return None
    content = read_json(folder / _CONTENT)
    arrays = load_file(folder / _ARRAYS)
    trees = [
        Trees(
            task,
            each["ranks"],
            each["classes"],
            lgb.Booster(model_str=(folder / _tree_file(number)).read_text(encoding="utf-8")),
            tuple(each["best"]),
            cores(),
        )
        for number, each in enumerate(content["trees"])
    ]
    scales = [_scale(each, arrays) for each in content["scales"]]
    return [_combination(each, scales, trees) for each in content["folds"]]


def _tree_file(number: int) -> str:
    return f"trees-{number}.txt"


@dataclass
class _Writer:
    """Collects what folds share, so that each is written once."""

    trees: list[Trees] = field(default_factory=list)
    scales: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)  # id of a scale or of trees -> its place

    @singledispatchmethod
    def content(self, fitted: Combination) -> dict[str, Any]:
        """Return as JSON what was learned."""
        raise TypeError(type(fitted))

    @content.register
    def _(self, fitted: FittedAverage) -> dict[str, Any]:
        return {"weights": {name: weights.tolist() for name, weights in fitted.weights.items()}}

    @content.register
    def _(self, fitted: FittedRegression) -> dict[str, Any]:
        model = fitted.model
        return {
            "members": fitted.members,
            "features": model.weights.tolist(),
            "constant": model.constant.tolist(),
            "scale": self._place(fitted.scale),
        }

    @content.register
    def _(self, fitted: FittedTrees) -> dict[str, Any]:
        return {"models": [[self._place(trees), use] for trees, use in fitted.models]}

    @content.register
    def _(self, fitted: FittedMixture) -> dict[str, Any]:
        parts = {"regression": fitted.regression, "trees": fitted.trees}
        return {name: self.content(part) for name, part in parts.items()} | {"own": fitted.member}

    @content.register
    def _(self, fitted: Decided) -> dict[str, Any]:
        return {
            "combined": self.content(fitted.combined),
            "decisions": asdict(fitted.decisions),
        }

    def _place(self, shared: Scale | Trees) -> int:
        if id(shared) not in self._places:
            if isinstance(shared, Trees):
                self._places[id(shared)] = len(self.trees)
                self.trees.append(shared)
            else:
                self._places[id(shared)] = len(self.scales)
                self.scales.append(self._scale(shared))
        return self._places[id(shared)]

    def _scale(self, scale: Scale) -> dict[str, Any]:
        content: dict[str, Any] = {
            "lists": _plain(scale.lists),
            "members": {name: _plain(each) for name, each in scale.members.items()},
        }
        if scale.ranks is not None and scale.text is not None:
            content["text"] = _plain(scale.text)
            content["sizes"] = [len(values) for values in scale.ranks.values]
            # As many numbers as the training rows have values.
            content["ranks"] = number = len(self.scales)
            self.arrays[f"values-{number}"] = np.concatenate(scale.ranks.values)
            self.arrays[f"below-{number}"] = np.concatenate(scale.ranks.below)
        return content


def _plain(standard: Standard) -> list[list[float]]:
    return [standard.mean.tolist(), standard.deviation.tolist()]


def _standard(content: list[list[float]]) -> Standard:
    return Standard(np.array(content[0], np.float64), np.array(content[1], np.float64))


def _scale(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> Scale:
    members = {name: _standard(each) for name, each in content["members"].items()}
    if "ranks" not in content:
        return Scale(_standard(content["lists"]), members)

    sizes = np.array(content["sizes"], np.int64)
    values = np.split(arrays[f"values-{content['ranks']}"], sizes.cumsum()[:-1])
    below = np.split(arrays[f"below-{content['ranks']}"], (sizes + 1).cumsum()[:-1])
    text = _standard(content["text"])
    return Scale(_standard(content["lists"]), members, Ranks(values, below), text)


def _combination(
    content: Mapping[str, Any], scales: Sequence[Scale], trees: Sequence[Trees]
) -> Combination:
    """Return what `_Writer.content` wrote."""

    def part(name: str) -> Combination:
        return _combination(content[name], scales, trees)

    if "combined" in content:
        return Decided(part("combined"), Decisions(**content["decisions"]))
    if "regression" in content:
        return FittedMixture(part("regression"), part("trees"), content["own"])
    if "models" in content:
        return FittedTrees([(trees[place], use) for place, use in content["models"]])
    if "weights" in content:
        return FittedAverage({name: np.array(each) for name, each in content["weights"].items()})
    model = Regression(np.array(content["features"]), np.array(content["constant"]))
    return FittedRegression(tuple(content["members"]), model, scales[content["scale"]])
