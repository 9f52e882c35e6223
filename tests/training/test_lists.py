"""The gradient of ranking losses: a list that is split over micro-batches has that of the whole list."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import CompError
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.ranking_losses import RANKING_LOSSES, gain_log_odds
from competition.training.batches import collate
from competition.training.gradients import CLEAN, BatchGradients
from competition.training.lists import check_lists
from competition.training.loop import make_accelerator
from competition.training.samples import Sample
from tests.esci import KINDS
from tests.training.conftest import (
    ALL_AT_ONCE,
    Bench,
    assert_same,
    gradient,
    make_recipe,
)

SIZES = (44, 1, 5, 3, 7)  # of the lists
ROWS = sum(SIZES)
LISTS = np.repeat(np.arange(len(SIZES)), SIZES)
# The list of 44 and some more, in the order of a batch: lists in one piece, rows in any order.
BATCH = np.concatenate([np.random.default_rng(3).permutation(44), [48, 45, 46, 47, 49], [44]])
SPLIT_UP = 192  # tokens: eight rows
GAINS = torch.tensor([1.0, 0.1, 0.01, 0.0], dtype=torch.float64)


def short_recipe(**keys: Any) -> EncoderRecipe:
    """A recipe of short texts without features."""
    return make_recipe(**{"max_length": 24, "features": ()} | keys)


@pytest.fixture(scope="module")
def lists(bench: Bench, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> Bench:
    """As many examples as the lists have rows, of as many queries: equal texts would tie, and rounding order them."""
    return replace(bench, examples=catalogue[0].drop_duplicates("query").head(ROWS))


def sample(bench: Bench, recipe: EncoderRecipe) -> Sample:
    """All rows in lists; targets run through the classes or gains, and the weight is the list's."""
    target = np.random.default_rng(8).integers(0, 4, ROWS).astype(np.float64)
    if recipe.kind == "gain":
        target = GAINS.numpy()[target.astype(int)]
    weight = np.array([1.0, 2.0, 0.3, 1.0, 1.0])[LISTS]
    return Sample(bench.pairs(recipe), np.arange(ROWS), target, weight, LISTS)


def make_step(bench: Bench, recipe: EncoderRecipe, model: RelevanceModel) -> BatchGradients:
    return BatchGradients(make_accelerator(), model, recipe, sample(bench, recipe), seed=3)


def loss_and_gradient(bench: Bench, recipe: EncoderRecipe) -> tuple[float, dict[str, Tensor]]:
    """By the code under test."""
    model = bench.model(recipe)
    loss = make_step(bench, recipe, model).compute(BATCH, step=0)
    return loss.item(), gradient(model)


def plain_ranking(recipe: EncoderRecipe, logits: Tensor, target: Tensor) -> Tensor:
    """The mean over the lists of BATCH of their losses by weight: 1 of 44 rows, 0.3 of 5; one row does not count."""
    gains = target if recipe.kind == "gain" else GAINS[target.long()]
    scores = gain_log_odds(logits, GAINS if recipe.kind == "classes" else None)
    losses = [
        RANKING_LOSSES[recipe.ranking_loss](
            scores[None, rows], gains[None, rows], torch.ones(1, len(rows), dtype=torch.bool)
        )[0]
        for rows in (torch.arange(44), torch.arange(44, 49))
    ]
    return (1.0 * losses[0] + 0.3 * losses[1]) / (1.0 + 0.3)


def plain_rows(recipe: EncoderRecipe, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if recipe.kind == "gain":
        losses = (torch.sigmoid(logits[:, 0]) - target) ** 2
    else:
        losses = torch.nn.functional.cross_entropy(logits, target.long(), reduction="none")
    return (weight * losses).sum() / weight.sum()


@pytest.mark.parametrize("budget", [ALL_AT_ONCE, SPLIT_UP])
@pytest.mark.parametrize(
    ("kind", "share"), [("gain", 1.0), ("gain", 0.3), ("classes", 0.5)], ids=str
)
def test_the_loss_is_a_weighted_sum_with_that_of_rows(
    kind: str, share: float, budget: int, lists: Bench
) -> None:
    recipe = short_recipe(
        kind=kind, ranking_loss="lambdarank", ranking_weight=share, token_budget=budget
    )
    loss, mine = loss_and_gradient(lists, recipe)

    model, rows = lists.model(recipe), sample(lists, recipe)
    logits = model(collate(rows.pairs, BATCH, torch.device("cpu")))
    target, weight = (torch.from_numpy(each[BATCH]) for each in (rows.target, rows.weight))
    expected = share * plain_ranking(recipe, logits, target)
    expected = expected + (1 - share) * plain_rows(recipe, logits, target, weight)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    assert_same(mine, gradient(model))


METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "r-drop": {"r_drop": 0.5},
    "fgm-table r-drop": {"adversary": "fgm-table", "r_drop": 0.5},
    "awp": {"adversary": "awp"},
    "classes ghm fgm-table": {"kind": "classes", "loss": "ghm", "adversary": "fgm-table"},
    "classes smoothed": {"kind": "classes", "label_smoothing": 0.1},
    "apart": {"architecture": "bi-encoder"},
    "checkpointing": {"checkpointing": True},
}
# Each method with one loss, and each loss with the first method.
SPLIT = [("ranknet", method) for method in METHODS]
SPLIT += [(loss, "plain") for loss in RANKING_LOSSES if loss != "ranknet"]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "method"), SPLIT)
def test_a_split_list_has_the_gradient_of_the_whole(loss: str, method: str, lists: Bench) -> None:
    keys = {"kind": "gain", "ranking_loss": loss} | METHODS[method]
    whole, split = (
        loss_and_gradient(lists, short_recipe(**keys, token_budget=budget))
        for budget in (ALL_AT_ONCE, SPLIT_UP)
    )
    assert split[0] == pytest.approx(whole[0], abs=1e-9)
    assert_same(split[1], whole[1])


@pytest.mark.parametrize("keys", [{}, {"lean": False}, {"r_drop": 0.5}], ids=str)
def test_both_passes_of_a_split_list_draw_the_same_dropout(
    keys: dict[str, Any], lists: Bench
) -> None:
    """The graph of the whole list is kept here, micro-batch by micro-batch with their dropout."""
    recipe = short_recipe(
        kind="gain",
        ranking_loss="listmle",
        ranking_weight=1.0,
        dropout=0.3,
        token_budget=SPLIT_UP,
        **keys,
    )
    model = lists.model(recipe).train()
    loss = make_step(lists, recipe, model).compute(BATCH, step=5)
    mine = gradient(model)

    model = lists.model(recipe).train()
    step = make_step(lists, recipe, model)
    micro_batches = step._splitter.split(BATCH, 5, SPLIT_UP)
    assert len(micro_batches) > 3
    place = np.argsort(np.concatenate([each.rows for each in micro_batches]))[
        np.argsort(np.argsort(BATCH))
    ]
    target = torch.from_numpy(sample(lists, recipe).target[BATCH])
    passes = []
    for number in range(CLEAN, 2 if keys.get("r_drop") else 1):
        logits = []
        for each in micro_batches:
            with step._pass(each, number):
                logits.append(model(each.inputs))
        passes.append(torch.cat(logits)[place])

    expected = sum(plain_ranking(recipe, logits, target) for logits in passes)
    if len(passes) == 2:
        p, q = (torch.sigmoid(logits[:, 0]) for logits in passes)
        odds = torch.logit(p) - torch.logit(q)
        weight = torch.from_numpy(sample(lists, recipe).weight[BATCH])
        # The mean of the divergence's two directions is (p - q) times the difference of log odds, by two.
        divergence = ((p - q) * odds / 2 * weight).sum() / weight.sum()
        expected = (expected + 0.5 * divergence) / 3
    assert isinstance(expected, Tensor)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    assert_same(mine, gradient(model))


class _Saved:
    """A tensor that a graph keeps, and whoever counts its bytes."""

    def __init__(self, tensor: Tensor, live: dict[str, int]) -> None:
        self.tensor, self._live, self._size = tensor, live, tensor.nbytes
        live["now"] += self._size
        live["most"] = max(live["most"], live["now"])

    def __del__(self) -> None:
        self._live["now"] -= self._size


def most_saved(bench: Bench, keys: dict[str, Any], rows: int) -> int:
    """The most bytes that graphs keep at once, beside the weights, in a step on one list of `rows` rows."""
    recipe = short_recipe(kind="gain", ranking_loss="ndcg-loss2pp", max_length=16, **keys)
    model = bench.model(recipe)
    step = make_step(bench, recipe, model)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    live = {"now": 0, "most": 0}

    def pack(tensor: Tensor) -> Any:
        is_weight = tensor.untyped_storage().data_ptr() in own
        return tensor if is_weight else _Saved(tensor, live)

    def unpack(saved: Any) -> Tensor:
        return saved.tensor if isinstance(saved, _Saved) else saved

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        step.compute(np.arange(rows), step=0)
    assert live["now"] == 0
    return live["most"]


@pytest.mark.parametrize("keys", [{}, {"r_drop": 0.5}, {"adversary": "fgm-table"}], ids=str)
def test_a_longer_list_needs_no_more_activations(keys: dict[str, Any], lists: Bench) -> None:
    """Texts of 16 tokens, eight of them at a time; what the list itself needs is a few kilobytes."""
    keys = keys | {"lean": False}
    of_16, of_44 = (most_saved(lists, keys | {"token_budget": 8 * 16}, rows) for rows in (16, 44))
    whole = most_saved(lists, keys | {"token_budget": ALL_AT_ONCE}, 44)
    assert of_44 <= 1.02 * of_16
    assert whole > 5 * of_44


def test_lists_that_cannot_be_ordered_move_nothing(lists: Bench) -> None:
    """Rows of one list each, and a list whose gains are all alike."""
    recipe = short_recipe(kind="gain", ranking_loss="ranknet", ranking_weight=1.0)
    for gains, numbers in ((np.arange(ROWS) / ROWS, np.arange(ROWS)), (np.full(ROWS, 0.1), LISTS)):
        model = lists.model(recipe)
        rows = replace(sample(lists, recipe), target=gains, lists=numbers)
        step = BatchGradients(make_accelerator(), model, recipe, rows, seed=3)
        assert step.compute(BATCH, step=0).item() == 0.0
        assert all(not bool(g.any()) for g in gradient(model).values())


def test_a_sample_without_an_order_is_refused(lists: Bench) -> None:
    recipe = short_recipe(kind="classes", ranking_loss="ranknet")
    rows = sample(lists, recipe)
    check_lists(recipe, KINDS["classes"], rows)
    # Each list with one label.
    with pytest.raises(CompError, match="has two rows of different gains"):
        check_lists(recipe, KINDS["classes"], replace(rows, target=LISTS % 4.0))


# --- recipes
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"kind": "substitute"}, 'take kind = "gain" or "classes"'),
        ({"kind": "classes", "ranking_weight": 1.0}, "nothing teaches the probabilities"),
        ({"mixup": 0.2}, "set mixup = 0"),
        ({"adversary": "fgm-row"}, "take fgm-table"),
        ({"rebalance": True}, "set rebalance = false"),
        ({"weight_noise_from": "c1"}, "take drop_noise_from or relabel_noise_from"),
    ],
)
def test_what_lists_do_not_go_with_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        short_recipe(**{"kind": "gain", "ranking_loss": "listnet"} | keys)
    short_recipe(**{"kind": "gain"} | keys)


def test_a_recipe_without_a_ranking_loss_is_what_it_was() -> None:
    keys = short_recipe(kind="gain").result_keys()
    assert not {"ranking_loss", "ranking_weight"} & keys.keys()
    assert short_recipe(kind="gain", ranking_weight=0.3).result_keys() == keys
    with_loss = short_recipe(kind="gain", ranking_loss="listnet").result_keys()
    assert with_loss == keys | {"ranking_loss": "listnet", "ranking_weight": 0.5}
