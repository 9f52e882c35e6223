"""The gradient of one optimiser batch against naive references in float64, whole and in micro-batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.model import RelevanceModel
from competition.training.batches import collate
from competition.training.samples import Sample
from tests.training.conftest import (
    ALL_AT_ONCE,
    IN_MICRO_BATCHES,
    WIDTH,
    Bench,
    assert_same,
    gradient,
    make_recipe,
)

BUDGETS = (ALL_AT_ONCE, IN_MICRO_BATCHES)
CHOSEN = np.random.default_rng(1).permutation(24)[:12]


def loss_and_gradient(
    bench: Bench, recipe: EncoderRecipe, rows: np.ndarray = CHOSEN
) -> tuple[float, dict[str, Tensor]]:
    """The loss and the gradient by the code under test; the weights must come out as they went in."""
    model = bench.model(recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = bench.step(recipe, model).compute(rows, step=0)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name
    return loss.item(), gradient(model)


# --- a reference that a reader can follow
# ------------------------------------------------------------------------


def batch(sample: Sample, rows: np.ndarray) -> tuple[Inputs, Tensor, Tensor]:
    """Rows as one batch: inputs, target, weight / sum of weights."""
    weight = torch.from_numpy(sample.weight[rows] / sample.weight[rows].sum())
    inputs = collate(sample.pairs, sample.rows[rows], torch.device("cpu"))
    return inputs, torch.from_numpy(sample.target[rows]), weight


def plain_losses(model: RelevanceModel, logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy, or squared error of the gain."""
    if model.kind.name == "gain":
        return (torch.sigmoid(logits[:, 0]) - target) ** 2
    return functional.cross_entropy(logits, target.long(), reduction="none")


def plain_kl(logits: Tensor, other: Tensor) -> Tensor:
    """The mean of the two divergences per row, spelled out."""
    if logits.shape[1] == 1:
        p, q = torch.sigmoid(logits[:, 0]), torch.sigmoid(other[:, 0])
        p, q = torch.stack([p, 1 - p], 1), torch.stack([q, 1 - q], 1)
    else:
        p, q = torch.softmax(logits, 1), torch.softmax(other, 1)
    return ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)) / 2


def moved_table(
    model: RelevanceModel, inputs: Inputs, target: Tensor, weight: Tensor, epsilon: float
) -> Tensor:
    """FGM as it is usually written: the whole table's gradient, scaled to the length epsilon."""
    model.zero_grad()
    (weight * plain_losses(model, model(inputs), target)).sum().backward()
    whole = model.encoder.embeddings.word_embeddings.weight.grad.clone()
    model.zero_grad()
    return epsilon * whole / whole.norm()


def naive_table(
    model: RelevanceModel, sample: Sample, alpha: float, epsilon: float
) -> tuple[float, dict[str, Tensor]]:
    """Clean pass, move the whole table, adversarial pass, put the table back."""
    inputs, target, weight = batch(sample, CHOSEN)
    move = moved_table(model, inputs, target, weight, epsilon)
    clean = model(inputs)
    table = model.encoder.embeddings.word_embeddings.weight
    kept = table.detach().clone()
    table.data.add_(move)
    adversarial = model(inputs)
    table.data.copy_(kept)
    terms = plain_losses(model, clean, target) + plain_losses(model, adversarial, target)
    loss = (weight * (terms + alpha * plain_kl(clean, adversarial)) / (3 if alpha else 2)).sum()
    loss.backward()
    return loss.item(), gradient(model)


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", ["classes", "gain"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_fgm_on_the_table_is_that_of_a_cloned_table(
    bench: Bench, kind: str, alpha: float, budget: int
) -> None:
    recipe = make_recipe(
        kind=kind, adversary="fgm-table", epsilon=0.7, r_drop=alpha, token_budget=budget
    )
    loss, mine = loss_and_gradient(bench, recipe)
    expected_loss, expected = naive_table(bench.model(recipe), bench.sample(recipe), alpha, 0.7)
    assert loss == pytest.approx(expected_loss, abs=1e-9)
    assert_same(mine, expected)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("architecture", ["cross-encoder", "two-tower"])
def test_fgm_by_row_is_that_of_each_example_alone(
    bench: Bench, architecture: str, budget: int
) -> None:
    recipe = make_recipe(
        adversary="fgm-row", epsilon=0.7, r_drop=0.5, token_budget=budget, architecture=architecture
    )
    loss, mine = loss_and_gradient(bench, recipe)
    model, sample = bench.model(recipe), bench.sample(recipe)
    total = torch.zeros((), dtype=torch.float64)
    weights = sample.weight[CHOSEN] / sample.weight[CHOSEN].sum()
    for row, weight in zip(CHOSEN, weights, strict=True):
        inputs, target, _ = batch(sample, np.array([row]))
        origin = torch.zeros(*inputs.ids.shape, WIDTH, dtype=torch.float64, requires_grad=True)
        clean = model(inputs, origin)
        (g,) = torch.autograd.grad(
            plain_losses(model, clean, target).sum(), origin, retain_graph=True
        )
        adversarial = model(inputs, 0.7 * g / g.norm())
        terms = plain_losses(model, clean, target) + plain_losses(model, adversarial, target)
        total = total + weight * (terms + 0.5 * plain_kl(clean, adversarial)).sum() / 3
    total.backward()
    assert loss == pytest.approx(total.item(), abs=1e-9)
    assert_same(mine, gradient(model))


@pytest.mark.parametrize("budget", BUDGETS)
def test_awp_is_that_of_moved_weights(bench: Bench, budget: int) -> None:
    recipe = make_recipe(adversary="awp", epsilon=0.01, token_budget=budget)
    loss, mine = loss_and_gradient(bench, recipe)
    model = bench.model(recipe)
    inputs, target, weight = batch(bench.sample(recipe), CHOSEN)
    clean = (weight * plain_losses(model, model(inputs), target)).sum()
    clean.backward()
    of_clean = gradient(model)
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        if p.ndim > 1 and of_clean[name].norm() > 0:
            touched = of_clean[name].abs().sum(1) > 0  # of a table, the rows of this batch
            p.data += 0.01 * p[touched].norm() * of_clean[name] / of_clean[name].norm()
    model.zero_grad()
    adversarial = (weight * plain_losses(model, model(inputs), target)).sum()
    adversarial.backward()
    of_adversarial = gradient(model)
    assert any(not torch.equal(p, kept[name]) for name, p in model.named_parameters())
    assert loss == pytest.approx((clean.item() + adversarial.item()) / 2, abs=1e-9)
    assert_same(mine, {name: (of_clean[name] + of_adversarial[name]) / 2 for name in of_clean})


def test_the_attack_ignores_gradients_that_lie_about(bench: Bench) -> None:
    """The released code attacked along whatever had been accumulated before."""
    recipe = make_recipe(adversary="fgm-table", r_drop=0.5, token_budget=IN_MICRO_BATCHES)
    _, expected = loss_and_gradient(bench, recipe)
    model = bench.model(recipe)
    for p in model.parameters():
        p.grad = torch.full_like(p, 10.0)
    bench.step(recipe, model).compute(CHOSEN, step=0)
    assert_same(
        {name: g - 10 for name, g in gradient(model).items()} | {}, with_unused(expected, model)
    )


def with_unused(gradients: dict[str, Tensor], model: RelevanceModel) -> dict[str, Tensor]:
    """Zero for parameters without a gradient."""
    return {name: gradients.get(name, torch.zeros_like(p)) for name, p in model.named_parameters()}


# --- what every method keeps to
# ----------------------------------------------------------------------------------

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "poly1 smoothed": {"loss": "poly1", "label_smoothing": 0.1},
    "focal": {"loss": "focal"},
    "ghm": {"loss": "ghm"},
    "gain": {"kind": "gain"},
    "fgm-table r-drop": {"adversary": "fgm-table", "r_drop": 0.5},
    "fgm-row r-drop": {"adversary": "fgm-row", "r_drop": 0.5},
    "awp r-drop": {"adversary": "awp", "r_drop": 0.5},
    "ghm fgm-table": {"loss": "ghm", "adversary": "fgm-table", "r_drop": 0.5},
    "experts": {"architecture": "mixture-of-experts", "adversary": "fgm-table", "r_drop": 0.5},
    "apart": {"architecture": "bi-encoder", "adversary": "fgm-table", "r_drop": 0.5},
    "towers": {"architecture": "two-tower", "adversary": "fgm-table", "r_drop": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(method: str, bench: Bench) -> None:
    whole, micro_batches = (
        loss_and_gradient(bench, make_recipe(**METHODS[method], token_budget=budget))
        for budget in BUDGETS
    )
    assert micro_batches[0] == pytest.approx(whole[0], abs=1e-9)
    assert_same(micro_batches[1], whole[1])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_doubling_a_weight_is_listing_the_row_twice(method: str, bench: Bench) -> None:
    recipe = make_recipe(**METHODS[method])
    ones = np.ones(24)
    double = ones.copy()
    double[3] = 2.0
    rows = np.arange(12)
    models = [bench.model(recipe) for _ in range(2)]
    weighted = bench.step(recipe, models[0], double).compute(rows, 0)
    listed = bench.step(recipe, models[1], ones).compute(np.append(rows, 3), 0)
    assert weighted.item() == pytest.approx(listed.item(), abs=1e-9)
    assert_same(gradient(models[0]), gradient(models[1]))


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_weight_have_no_gradient(method: str, bench: Bench) -> None:
    recipe = make_recipe(**METHODS[method])
    model = bench.model(recipe)
    assert bench.step(recipe, model, np.zeros(24)).compute(CHOSEN, 0).item() == 0.0
    assert all(not bool(g.any()) for g in gradient(model).values())


@pytest.mark.parametrize("method", ["plain", "ghm", "fgm-table r-drop"])
def test_a_batch_listed_twice_has_the_same_loss(method: str, bench: Bench) -> None:
    """A divergence that is summed over the batch would grow with it."""
    recipe = make_recipe(**METHODS[method])
    once, twice = (loss_and_gradient(bench, recipe, np.tile(CHOSEN, times)) for times in (1, 2))
    assert twice[0] == pytest.approx(once[0], abs=1e-9)
    assert_same(twice[1], once[1])


def test_one_output_has_a_divergence(bench: Bench) -> None:
    """A softmax over one logit is always 1, so the released regressors trained without R-Drop."""
    without, with_kl = (
        loss_and_gradient(bench, make_recipe(kind="gain", adversary="fgm-table", r_drop=a))[0]
        for a in (1e-12, 0.5)
    )
    assert with_kl - without > 1e-6


def test_ghm_is_each_row_over_its_bins_weight(bench: Bench) -> None:
    recipe = make_recipe(loss="ghm")
    model, sample = bench.model(recipe), bench.sample(recipe)
    inputs, target, weight = batch(sample, CHOSEN)
    losses = plain_losses(model, model(inputs), target)
    bins = [
        min(9, int((1 - p) * 10)) for p in torch.exp(-losses).tolist()
    ]  # p_t = exp(-cross entropy)
    of_bin = {
        b: sum(w for w, other in zip(weight.tolist(), bins, strict=True) if other == b)
        for b in bins
    }
    expected = sum(
        loss * w / (len(of_bin) * of_bin[b])
        for loss, w, b in zip(losses.tolist(), weight.tolist(), bins, strict=True)
    )
    assert loss_and_gradient(bench, recipe)[0] == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts the encoder's forwards and the backwards through its graph."""
    counts = {"forward": 0, "backward": 0}

    def count(self: torch.nn.Module, arguments: tuple, keywords: dict, output: Any) -> None:
        counts["forward"] += 1

        def back(grad: Tensor) -> None:
            counts["backward"] += 1

        output.register_hook(back)

    original = RelevanceModel.__init__

    def watched(self: RelevanceModel, *arguments: Any) -> None:
        original(self, *arguments)
        self.encoder.embeddings.register_forward_hook(count, with_kwargs=True)

    monkeypatch.setattr(RelevanceModel, "__init__", watched)
    return counts


@pytest.mark.parametrize(
    ("keys", "forward", "backward"),
    [
        ({}, 1, 1),
        ({"r_drop": 0.5}, 2, 2),
        ({"adversary": "fgm-table"}, 2, 3),
        ({"adversary": "fgm-table", "r_drop": 0.5}, 2, 3),
        ({"adversary": "fgm-row", "r_drop": 0.5}, 2, 3),
        ({"adversary": "awp", "r_drop": 0.5}, 2, 3),
    ],
)
def test_what_an_unsplit_batch_costs(
    keys: dict[str, Any], forward: int, backward: int, bench: Bench, passes: dict[str, int]
) -> None:
    loss_and_gradient(bench, make_recipe(**keys))
    assert passes == {"forward": forward, "backward": backward}


PADDED = {"lean": False}
WAYS = {
    "lean": {},
    "checkpointing": PADDED | {"checkpointing": True},
    "lean checkpointing": {"checkpointing": True},
}
# AWP moves the weights that checkpointing would compute with again, so that these are refused.
TOGETHER = [
    (method, way) for method in METHODS for way in WAYS if "awp" not in method or way == "lean"
]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_ways_to_compute_have_one_gradient(method: str, bench: Bench) -> None:
    results = []
    for keys in (PADDED, *(WAYS[way] for each, way in TOGETHER if each == method)):
        recipe = make_recipe(**METHODS[method], **keys)
        model = bench.model(recipe).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        results.append((bench.step(recipe, model).compute(CHOSEN, 0).item(), gradient(model)))
    for loss, gradients in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-9)
        assert_same(gradients, results[0][1])


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"compile": True, "lean": False}, "compile goes with lean"),
        ({"checkpointing": True, "adversary": "awp"}, "awp has moved them"),
        ({"sharded": True, "adversary": "awp"}, "take fgm-table, or sharded = false"),
        ({"sharded": True, "compile": True}, "set compile = false, or sharded = false"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_recipe(**keys)


# --- randomness
# --------------------------------------------------------------------------------------------------


def test_two_dropout_passes_differ_and_repeat(bench: Bench) -> None:
    """R-Drop as in its source: without an adversary the passes differ in their dropout alone."""
    recipe = make_recipe(r_drop=0.5, dropout=0.3)

    def loss(alpha: float) -> float:
        model = bench.model(recipe).train()
        return (
            bench.step(recipe.model_copy(update={"r_drop": alpha}), model).compute(CHOSEN, 0).item()
        )

    assert loss(0.5) == loss(0.5)
    # The mean of three terms: more alpha is more loss, as far as the two passes differ.
    assert loss(1.0) - loss(0.5) > 1e-6


def test_a_pass_that_is_repeated_draws_the_same_dropout(bench: Bench) -> None:
    """The second phase of a split batch repeats the clean pass of the first, whose gradient the attack follows."""
    recipe = make_recipe(adversary="fgm-table", dropout=0.3, token_budget=IN_MICRO_BATCHES)
    losses = {
        bench.step(recipe, bench.model(recipe).train()).compute(CHOSEN, step).item()
        for step in (0, 0, 1)
    }
    assert len(losses) == 2


def test_mixup_mixes_targets_as_it_mixes_features(bench: Bench) -> None:
    recipe = make_recipe(mixup=0.4)
    model, sample = bench.model(recipe), bench.sample(recipe)
    step = bench.step(recipe, model)
    loss = step.compute(CHOSEN, 0).item()
    group = CHOSEN[
        np.lexsort((CHOSEN, sample.pairs.lengths()[CHOSEN]))
    ]  # the order within the one micro-batch
    micro_batch = step._splitter.micro_batch(group, 1 / sample.weight[group].sum(), 0, 0)
    assert micro_batch.mix is not None
    inputs, target, weight = batch(sample, group)
    share, partner = micro_batch.mix.share, micro_batch.mix.partner
    assert sorted(partner.tolist()) == list(range(len(group)))
    assert 0 < share < 1
    seen: list[Tensor] = []
    hook = model.output.register_forward_pre_hook(
        lambda module, arguments: seen.append(arguments[0])
    )
    model(inputs)
    hook.remove()
    features = seen[0]
    assert bool((features.abs() <= 1).all())  # behind the tanh
    mixed = share * features + (1 - share) * features[partner]
    log_p = torch.log_softmax(model.output.output(mixed), 1)
    first, second = (log_p[torch.arange(len(group)), t.long()] for t in (target, target[partner]))
    mixed_weight = share * weight + (1 - share) * weight[partner]
    expected = -(mixed_weight * (share * first + (1 - share) * second)).sum()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    assert mixed_weight.sum().item() == pytest.approx(1.0)


def test_evaluation_knows_no_mixup(bench: Bench) -> None:
    inputs, _, _ = batch(bench.sample(make_recipe()), CHOSEN)
    plain, mixed = (bench.model(make_recipe(mixup=m))(inputs) for m in (0.0, 0.4))
    assert torch.equal(plain, mixed)
