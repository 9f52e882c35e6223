"""Architectures and the output layer by hand, and whole models on real pairs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from competition.core.errors import InputError
from competition.models.encoder.encoder import load_encoder, load_tokenizer, save
from competition.models.encoder.heads import (
    BiEncoder,
    CrossEncoder,
    MixtureOfExperts,
    OutputLayer,
    TwoTower,
    pool,
)
from competition.models.encoder.inputs import Inputs, Mixup
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.pooling import encoder_pooling
from tests.esci import KINDS
from tests.models.encoder.conftest import FEATURES, Shop, batch, recipe

POOLED = [
    *(
        (architecture, "auto")
        for architecture in ("cross-encoder", "mixture-of-experts", "two-tower", "bi-encoder")
    ),
    *(("cross-encoder", pooling) for pooling in ("mean", "first+mean")),
    ("mixture-of-experts", "first+mean"),
]
NOTHING = torch.empty(2, 0)  # no features beside


def tokens(*shape: int) -> Tensor:
    """Hidden states drawn at random."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape)).float()


def fill(parameter: Tensor, values: object) -> None:
    """Set a parameter."""
    with torch.no_grad():
        parameter.copy_(torch.tensor(values).expand_as(parameter))


def test_pooling_takes_the_first_token_or_the_mean_of_tokens_that_are_no_padding() -> None:
    hidden = torch.tensor(
        [[[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]], [[4.0, 0.0], [2.0, 8.0], [9.0, 9.0]]]
    )
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])  # the second text has two tokens
    first, mean = (
        [[1.0, 2.0], [4.0, 0.0]],
        [[(1 + 3 + 5) / 3, (2 + 6 + 1) / 3], [(4 + 2) / 2, (0 + 8) / 2]],
    )
    assert pool(hidden, mask, "first").tolist() == first
    assert pool(hidden, mask, "mean").tolist() == mean
    assert pool(hidden, mask, "first+mean").tolist() == [
        [*f, *m] for f, m in zip(first, mean, strict=True)
    ]


def test_means_are_taken_in_full_precision() -> None:
    hidden = torch.full((1, 300, 1), 1.0, dtype=torch.bfloat16)
    hidden[0, 0] = 1.0 + 2**-7  # the next larger number of bf16: the mean lies between the two
    actual = pool(hidden, torch.ones(1, 300, dtype=torch.long), "mean")
    assert actual.item() == pytest.approx(1 + 2**-7 / 300, rel=1e-6)


def test_the_cross_encoder_reads_the_pooled_text_and_the_features() -> None:
    head = CrossEncoder(2, 2, extra=1, dropout=0.5).eval()
    fill(head.dense.weight, [[0.1, 0.2, 0.3], [1.0, 0.0, -1.0]])
    fill(head.dense.bias, [0.5, 0.0])
    actual = head(
        torch.tensor([[[1.0, 2.0]]]),
        torch.ones(1, 1, 2),
        torch.ones(1, 1, dtype=torch.bool),
        torch.tensor([[3.0]]),
    )
    assert actual[0].tolist() == pytest.approx(
        [math.tanh(0.5 + 0.1 * 1 + 0.2 * 2 + 0.3 * 3), math.tanh(1.0 - 3.0)]
    )


# --- bi-encoder ---

SIDES = torch.tensor(
    [[[3.0, 4.0], [4.0, 3.0]], [[1.0, 0.0], [0.0, 2.0]]]
)  # (batch, query and product, W)
COSINES = [(3 * 4 + 4 * 3) / (5 * 5), 0.0]


def compared(head: BiEncoder) -> Tensor:
    """What a bi-encoder gives for SIDES."""
    return head(SIDES, torch.ones(2, 2, 3), torch.ones(2, 2, dtype=torch.bool), torch.empty(2, 0))


def test_the_bi_encoder_compares_both_sides_and_gives_their_cosine_beside() -> None:
    head = BiEncoder(2, 2, extra=0, dropout=0.5).eval()
    fill(
        head.dense.weight, [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    )  # the first of |u - v|, the first of u * v
    fill(head.dense.bias, 0.0)
    assert head.cosine(SIDES).tolist() == pytest.approx(COSINES)
    # Both sides have length sqrt(2): u = sqrt(2) (0.6, 0.8), v = sqrt(2) (0.8, 0.6).
    apart, together = math.sqrt(2) * 0.2, 2 * 0.6 * 0.8
    assert compared(head)[0].tolist() == pytest.approx(
        [math.tanh(apart), math.tanh(together), COSINES[0]]
    )


def test_standardised_cosines_have_mean_0_and_deviation_1() -> None:
    head = BiEncoder(2, 2, extra=0, dropout=0.0)
    head.standardise(head.cosine(SIDES))
    assert compared(head)[:, -1].tolist() == pytest.approx([1.0, -1.0])
    head.standardise(torch.zeros(3))  # cosines that do not differ leave numbers that are finite
    assert bool(compared(head).isfinite().all())


@pytest.mark.parametrize("kind", ["classes", "gain", "substitute"])
def test_an_untrained_bi_encoder_ranks_by_cosine(kind: str, shop: Shop) -> None:
    method = recipe(architecture="bi-encoder", kind=kind)
    model, inputs = (
        RelevanceModel.make(method, KINDS[method.kind], shop.sources, seed=0).eval(),
        batch(shop.pairs(method), range(20)),
    )
    model.init_by_similarity([inputs])
    logits = model(inputs)
    cosines = model.head.cosine(model._sides(inputs))
    expected = {"classes": 1 - (1 + 0.1 + 0.01) / 4, "gain": 1.0, "substitute": 0.0}[kind]
    standard = (cosines - cosines.mean()) / cosines.std(correction=0)
    first = logits[:, 0] - model.output.output.bias[0]
    assert first.tolist() == pytest.approx((0.5 * expected * standard).tolist(), abs=1e-5)


def test_what_stands_beside_passes_no_dropout() -> None:
    output = OutputLayer(2, 1, dropout=0.9, samples=1, similarities=1).train()
    fill(output.output.weight, [[0.0, 0.0, 2.0]])
    fill(output.output.bias, 0.0)
    actual = output(torch.tensor([[5.0, 5.0, 3.0]]).expand(50, 3))
    assert actual[:, 0].tolist() == [2 * 3.0] * 50


# --- mixture of experts ---


def mixture() -> MixtureOfExperts:
    """Experts that say tanh(1), tanh(2) and tanh(3) times their view's first value, and a gate of odds 1 : 2 : 5."""
    head = MixtureOfExperts(1, 1, extra=0, dropout=0.0)
    for v, expert in enumerate(head.experts):
        fill(expert.dense.weight, v + 1.0)
        fill(expert.dense.bias, 0.0)
    fill(head.gate.weight, 0.0)
    fill(head.gate.bias, [math.log(1), math.log(2), math.log(5)])
    return head


@pytest.mark.parametrize(
    ("present", "weights"),
    [
        ([1, 1, 1], [1 / 8, 2 / 8, 5 / 8]),
        ([1, 0, 1], [1 / 6, 0, 5 / 6]),
        ([0, 1, 1], [0, 2 / 7, 5 / 7]),
        ([0, 1, 0], [0, 1, 0]),
        ([0, 0, 0], [1, 0, 0]),  # a product without any text
    ],
)
def test_the_gate_weighs_the_experts_whose_field_is_there(
    present: list[int], weights: list[float]
) -> None:
    hidden = torch.tensor([1.0, -0.5, 0.25])[None, :, None]
    actual = mixture()(hidden, torch.ones(1, 3, 1), torch.tensor([present]).bool(), NOTHING[:1])
    features = [math.tanh(1 * 1.0), math.tanh(2 * -0.5), math.tanh(3 * 0.25)]
    assert actual.item() == pytest.approx(
        sum(w * s for w, s in zip(weights, features, strict=True)), abs=1e-6
    )


def test_the_expert_of_a_missing_field_says_and_learns_nothing() -> None:
    head, hidden = mixture(), tokens(2, 3, 1).requires_grad_()
    present = torch.tensor([[True, True, False], [False, False, False]])
    head(hidden, torch.ones(2, 3, 4), present, NOTHING).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    used = hidden.grad[:, :, 0] != 0
    assert used.tolist() == [[True, True, False], [True, False, False]]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert not head.experts[2].dense.weight.grad.any()


# --- two towers ---


def read_by(head: TwoTower, part: int) -> None:
    """Let the head say tanh of one of u, v and |u - v| (4 dimensions each)."""
    fill(head.dense.bias, 0.0)
    fill(head.dense.weight, torch.eye(12)[4 * part : 4 * part + 4].tolist())


@pytest.mark.parametrize("part", [0, 1, 2], ids=["u", "v", "|u - v|"])
def test_towers_give_u_v_and_their_distance(part: int) -> None:
    head = TwoTower(4, 4, extra=0, dropout=0.0).eval()
    fill(head.cross.out_proj.weight, 0.0)  # no tower sees the other
    fill(head.cross.out_proj.bias, 0.0)
    read_by(head, part)
    hidden, mask = (
        tokens(2, 2, 5, 4),
        torch.tensor([[[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]]),
    )
    actual = head(hidden, mask, torch.ones(2, 2).bool(), NOTHING)
    for i in range(2):
        means = []
        for side in range(2):
            kept = hidden[i, side][mask[i, side] == 1].double()
            normed = (kept - kept.mean(1, keepdim=True)) / (
                kept.var(1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
            means.append(normed.mean(0))
        u, v = means
        torch.testing.assert_close(
            actual[i].double(), torch.tanh((u, v, (u - v).abs())[part]), rtol=1e-4, atol=1e-5
        )


def test_each_tower_attends_to_the_other_and_to_no_padding() -> None:
    head = TwoTower(4, 4, extra=1, dropout=0.0).eval()
    hidden, mask = tokens(1, 2, 5, 4), torch.tensor([[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]])
    present, extra = torch.ones(1, 2).bool(), torch.ones(1, 1)
    before = head(hidden, mask, present, extra)
    padded = hidden.clone()
    padded[mask == 0] = 100.0
    assert torch.equal(head(padded, mask, present, extra), before)
    assert torch.allclose(head(hidden[:, :, :3], mask[:, :, :3], present, extra), before, atol=1e-6)
    for part, other in ((0, 1), (1, 0)):
        fill(
            head.dense.weight,
            [[*row, 0.0] for row in torch.eye(12)[4 * part : 4 * part + 4].tolist()],
        )
        changed = hidden.clone()
        changed[:, other, 0] += 1.0
        assert not torch.allclose(
            head(changed, mask, present, extra), head(hidden, mask, present, extra), atol=1e-3
        )


# --- output ---


def test_mixup_mixes_the_tanh_features_where_it_is_given() -> None:
    output = OutputLayer(2, outputs=1, dropout=0.0, samples=1)
    fill(output.output.weight, [[1.0, 10.0]])
    fill(output.output.bias, [0.5])
    features = torch.tensor([[0.2, 0.4], [-0.6, 0.8]])
    assert output(features)[:, 0].tolist() == pytest.approx([0.5 + 0.2 + 4, 0.5 - 0.6 + 8])
    mixed = output(features, Mixup(torch.tensor([1, 0]), 0.25))[:, 0].tolist()
    first = 0.5 + (0.25 * 0.2 + 0.75 * -0.6) + 10 * (0.25 * 0.4 + 0.75 * 0.8)
    second = 0.5 + (0.25 * -0.6 + 0.75 * 0.2) + 10 * (0.25 * 0.8 + 0.75 * 0.4)
    assert mixed == pytest.approx([first, second])


def test_several_samples_are_the_mean_over_dropout_masks_in_training_alone() -> None:
    output, features = OutputLayer(8, outputs=3, dropout=0.5, samples=4), tokens(5, 8)
    torch.manual_seed(1)
    actual = output(features)
    torch.manual_seed(1)
    masked = [output.output(output.dropout(features)) for _ in range(4)]
    torch.testing.assert_close(actual, sum(masked) / 4)
    assert not torch.allclose(masked[0], masked[1])
    plain = output.eval().output(features)
    assert torch.equal(output(features), plain)
    assert not torch.allclose(actual, plain)


# --- whole models ---


def padded(inputs: Inputs, more: int, token: int) -> Inputs:
    """The same batch with more columns of padding, whatever token it holds."""
    columns = {"ids": token, "mask": 0, "types": 0}
    longer = {
        name: torch.nn.functional.pad(getattr(inputs, name), (0, more), value=v)
        for name, v in columns.items()
    }
    return inputs._replace(**longer, places=longer["mask"].flatten().nonzero()[:, 0])


@pytest.mark.parametrize("features", [(), FEATURES], ids=["plain", "features"])
@pytest.mark.parametrize(("architecture", "pooling"), POOLED)
@torch.no_grad()
def test_neither_padding_nor_the_rest_of_the_batch_changes_a_row(
    architecture: str, pooling: str, features: tuple[str, ...], shop: Shop
) -> None:
    method = recipe(
        architecture=architecture, pooling=pooling, features=features, multi_sample_dropout=3
    )
    model, pairs = (
        RelevanceModel.make(method, KINDS[method.kind], shop.sources, seed=3).eval(),
        shop.pairs(method),
    )
    whole = model(batch(pairs, range(20)))
    assert whole.shape == (20, 4)
    assert whole.isfinite().all()
    assert (whole.std(0) > 1e-3).all()  # rows differ by far more than what is tolerated below
    alone = torch.cat([model(batch(pairs, [row])) for row in range(20)])
    turned = model(batch(pairs, range(19, -1, -1))).flip(0)
    longer = model(padded(batch(pairs, range(20)), 11, token=pairs.special.separator))
    for other in (alone, turned, longer):
        torch.testing.assert_close(other, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("architecture", "pooling"), POOLED)
def test_every_weight_learns_and_one_row_is_a_batch(
    architecture: str, pooling: str, shop: Shop
) -> None:
    method = recipe(architecture=architecture, pooling=pooling, char_trigrams_init="word2vec")
    model, pairs = (
        RelevanceModel.make(method, KINDS[method.kind], shop.sources, seed=3).train(),
        shop.pairs(method),
    )
    for rows in ([Shop.LOST[0]], range(20)):
        model.zero_grad()
        model(batch(pairs, rows)).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("kind", "mean"),
    [("classes", [0.6, 0.3, 0.1, 0.0]), ("substitute", [0.75, 0.25]), ("gain", [0.7])],
)
@torch.no_grad()
def test_an_untrained_model_answers_the_mean_target(
    kind: str, mean: list[float], shop: Shop
) -> None:
    model = RelevanceModel.make(
        recipe(kind=kind, loss="mse" if kind == "gain" else "ce"), KINDS[kind], shop.sources, seed=3
    )
    model.init_output_bias(torch.tensor(mean))
    actual = model.outputs(model.output.eval()(torch.zeros(1, 128)))[0].tolist()
    assert actual == pytest.approx([0.25] if kind == "substitute" else mean, abs=2e-4)


def test_the_pooling_is_what_the_recipe_says_or_what_the_encoder_was_made_with(
    shop: Shop, tmp_path: Path
) -> None:
    def made(stated: str | None, by_recipe: str) -> RelevanceModel:
        folder = tmp_path / f"{stated} {by_recipe}"
        encoder = load_encoder(shop.sources.encoder)
        if stated is not None:
            encoder.config.comp_pooling = stated
        save(folder, load_tokenizer(shop.sources.encoder), encoder)
        return RelevanceModel.make(
            recipe(pooling=by_recipe),
            KINDS["classes"],
            replace(shop.sources, encoder=folder),
            seed=3,
        )

    for stated, by_recipe, expected in (
        *((None, "auto", "first"), ("mean", "auto", "mean"), ("first+mean", "auto", "first+mean")),
        *((None, "mean", "mean"), ("mean", "first", "first")),
    ):
        model = made(stated, by_recipe)
        assert model.pooling == expected == encoder_pooling(model.encoder.config)
    with pytest.raises(
        InputError, match="comp_pooling = 'max': it must be one of first, mean, last, first"
    ):
        made("max", "auto")


@torch.no_grad()
def test_a_mixed_batch_is_between_its_rows(shop: Shop) -> None:
    method = recipe()
    model, pairs = (
        RelevanceModel.make(method, KINDS[method.kind], shop.sources, seed=3).eval(),
        shop.pairs(method),
    )
    inputs, partner = batch(pairs, range(20)), torch.arange(19, -1, -1)
    plain = model(inputs)
    # The output layer is affine, so mixing features is mixing logits.
    mixed = model(inputs, mix=Mixup(partner, 0.3))
    torch.testing.assert_close(mixed, 0.3 * plain + 0.7 * plain[partner], rtol=0, atol=1e-6)
    assert not torch.allclose(mixed, plain, atol=1e-4)


@torch.no_grad()
def test_only_the_first_text_of_a_row_without_a_product_is_read_by_experts(shop: Shop) -> None:
    method = recipe(architecture="mixture-of-experts", features=())
    model, pairs = (
        RelevanceModel.make(method, KINDS[method.kind], shop.sources, seed=3).eval(),
        shop.pairs(method),
    )
    lost, listed = Shop.LOST[0], 0
    inputs = batch(pairs, [lost, listed])
    other = inputs.ids.clone()
    other[2:, 1] = pairs.special.separator  # the second and the third view
    before, after = model(inputs), model(inputs._replace(ids=other))
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
