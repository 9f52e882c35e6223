"""How an encoder is tuned: what is frozen, and how the learning rate falls."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from competition.core.errors import InputError
from competition.models.encoder.heads import pool
from competition.training.batches import collate
from competition.training.optimizer import learning_rates, schedule
from tests.training.conftest import Bench, make_recipe


def frozen(bench: Bench, **keys: Any) -> set[str]:
    """The first parts of the names of weights that are not trained."""
    model = bench.model(make_recipe(features=(), **keys))
    names = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    return {".".join(name.split(".")[:4]).partition(".attention")[0] for name in names}


def test_embeddings_are_frozen(bench: Bench) -> None:
    names = frozen(bench, freeze_embeddings=True)
    assert names
    assert all(name.startswith("encoder.embeddings") for name in names)


def test_first_layers_are_frozen_with_the_embeddings(bench: Bench) -> None:
    names = frozen(bench, freeze_layers=1)
    assert names - {"encoder.encoder.layer.0"} == frozen(bench, freeze_embeddings=True)


def test_nothing_is_frozen_by_default(bench: Bench) -> None:
    assert not frozen(bench)


def test_a_layer_must_be_left(bench: Bench) -> None:
    with pytest.raises(
        InputError, match="freeze_layers = 2 leaves no layer to train: the encoder has 2"
    ):
        frozen(bench, freeze_layers=2)


def test_rates_of_layers_stay_when_others_are_frozen(bench: Bench) -> None:
    recipe = make_recipe(features=(), layer_decay=0.5)
    rates = learning_rates(bench.model(recipe), recipe)
    partly = recipe.model_copy(update={"freeze_layers": 1})
    left = learning_rates(bench.model(partly), partly)
    assert 0 < len(left) < len(rates)
    assert left.items() <= rates.items()


def test_a_cosine_falls_from_one_to_nothing() -> None:
    """Half of it at half the way; behind the same rise as the line's."""
    steps = 110
    cosine = [schedule(step, steps, 10 / 110, shape="cosine") for step in range(steps + 1)]
    line = [schedule(step, steps, 10 / 110) for step in range(steps + 1)]
    assert cosine[:10] == line[:10]
    assert cosine[60] == pytest.approx(0.5)
    assert cosine[35] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert cosine[steps] == 0
    assert all(later < before for before, later in pairwise(cosine[10:]))


def test_the_last_token_is_found_on_either_side() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(hidden, mask, "last").tolist() == [[2, 3], [10, 11]]


@pytest.mark.parametrize("lean", [True, False])
def test_a_text_may_be_its_last_token(lean: bool, bench: Bench) -> None:
    """With padding left out or not, the same."""
    recipe = make_recipe(features=(), pooling="last", lean=lean)
    model = bench.model(recipe)
    inputs = collate(bench.pairs(recipe), torch.arange(6).numpy(), torch.device("cpu"))
    own = {"attention_mask": inputs.mask, "token_type_ids": inputs.types}
    states = model.encoder(input_ids=inputs.ids, **own).last_hidden_state
    torch.testing.assert_close(model._read(inputs, None), pool(states, inputs.mask, "last"))
