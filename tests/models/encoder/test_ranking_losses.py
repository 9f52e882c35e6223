"""Ranking losses on 1,000 random lists against sentence-transformers, or against the formula of the paper."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from competition.models.encoder.ranking_losses import (
    RANKING_LOSSES,
    TEMPERATURE,
    gain_log_odds,
)

LISTS = 1_000
LONGEST = 44
GAINS = (0.0, 0.01, 0.1, 1.0)  # ties, and lists whose gains are all alike


class Lists:
    """Random lists, flat and padded."""

    def __init__(self, seed: int = 0, lists: int = LISTS) -> None:
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 12, lists)
        sizes[0], sizes[1:50], sizes[50:60] = LONGEST, 1, rng.integers(12, LONGEST, 10)
        self.sizes = sizes
        self.bounds = [0, *np.cumsum(sizes).tolist()]
        self.scores = torch.from_numpy(3 * rng.normal(size=self.bounds[-1]))

        # A third of the rows has a gain of its own, and a tenth of the lists only one.
        gains = rng.choice(GAINS, self.bounds[-1])
        own = rng.random(len(gains)) < 1 / 3
        gains[own] = rng.random(own.sum())
        for first, end in pairwise(self.bounds):
            if rng.random() < 0.1:
                gains[first:end] = gains[first]
        # As a label y with 2^y - 1 the gain, as sentence-transformers reads them.
        self.labels = torch.from_numpy(np.log2(1 + gains))
        self.gains = torch.from_numpy(gains)

    def padded(self, values: Tensor) -> Tensor:
        """The values `(rows,)` as `(lists, length)`, padded by zeros."""
        return nn.utils.rnn.pad_sequence(list(values.split(self.sizes.tolist())), batch_first=True)

    def sorted_by_gain(self) -> None:
        """Put each list in the order of its gains."""
        order = torch.cat(
            [
                first + self.gains[first:end].argsort(stable=True, descending=True)
                for first, end in pairwise(self.bounds)
            ]
        )
        self.scores, self.gains = self.scores[order], self.gains[order]
        self.labels = self.labels[order]

    def losses(self, name: str, scores: Tensor) -> Tensor:
        """The loss of each list by the code under test, `(lists,)`."""
        present = self.padded(torch.ones_like(self.gains)).bool()
        return RANKING_LOSSES[name](self.padded(scores), self.padded(self.gains), present)

    def pairs(self, of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """How many pairs of each list `of_two` holds for, `(lists,)`."""
        counts = [
            of_two(gains[:, None], gains[None]).sum()
            for gains in self.gains.split(self.sizes.tolist())
        ]
        return torch.stack(counts).double()


@pytest.fixture
def lists() -> Lists:
    """The lists of most tests."""
    return Lists()


def value_and_gradient(loss: Callable[[Tensor], Tensor], scores: Tensor) -> tuple[Tensor, Tensor]:
    """A loss and its gradient by the scores."""
    leaf = scores.clone().requires_grad_()
    value = loss(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def assert_equal(
    mine: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], scores: Tensor
) -> None:
    """Values and gradients agree to 1e-6 of their size, gradients per row."""
    value, gradient = value_and_gradient(mine, scores)
    expected, expected_gradient = value_and_gradient(theirs, scores)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    assert expected_gradient.abs().max() > 0
    scale = float(expected_gradient.abs().max())
    torch.testing.assert_close(gradient / scale, expected_gradient / scale, rtol=1e-6, atol=1e-6)


# --- sentence-transformers
# -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The losses of sentence-transformers, which are for a cross-encoder."""
    return pytest.importorskip(
        "sentence_transformers.cross_encoder.losses",
        reason="sentence-transformers is not installed",
    )


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let whoever names no type, or asks for fp32, compute in float64."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made_for(theirs: Any, scores: Tensor) -> Any:
    """A cross-encoder that reads the numbers of pairs and answers with their scores."""
    from sentence_transformers.cross_encoder import CrossEncoder

    class Answers(CrossEncoder):  # type: ignore[misc]
        num_labels = 1
        device = torch.device("cpu")

        def __init__(self) -> None:
            nn.Module.__init__(self)

        def preprocess(self, pairs: list[tuple[str, int]], **_: Any) -> dict[str, Tensor]:
            return {"numbers": torch.tensor([number for _, number in pairs])}

        def __call__(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"scores": scores[tokens["numbers"]]}

    return Answers()


def listwise(
    theirs: Any, name: str, lists: Lists, labels: Tensor, **keys: Any
) -> Callable[[Tensor], Tensor]:
    """A loss of sentence-transformers over all lists at once, as a function of the scores."""

    def loss(scores: Tensor) -> Tensor:
        model = made_for(theirs, scores)
        documents = [list(range(first, end)) for first, end in pairwise(lists.bounds)]
        of_lists = list(labels.split(lists.sizes.tolist()))
        made = getattr(theirs, name)(model, mini_batch_size=-1, **keys)
        value: Tensor = made([["query"] * len(documents), documents], of_lists)
        return value

    return loss


SCHEMES = {
    "lambdarank": "LambdaRankScheme",
    "ndcg-loss1": "NDCGLoss1Scheme",
    "ndcg-loss2": "NDCGLoss2Scheme",
    "ndcg-loss2pp": "NDCGLoss2PPScheme",
}


@pytest.mark.parametrize("name", ["ranknet", *SCHEMES])
def test_losses_of_pairs_are_those_of_sentence_transformers(
    name: str, theirs: Any, in_double: None, lists: Lists
) -> None:
    """Theirs is the mean over the pairs of all lists: that of each list by how many pairs it has."""
    if name == "ranknet":
        loss = listwise(theirs, "RankNetLoss", lists, lists.labels, reduction_log="natural")
    else:
        scheme = getattr(theirs, SCHEMES[name])()
        loss = listwise(theirs, "LambdaLoss", lists, lists.labels, weighting_scheme=scheme)

    every = name == "ndcg-loss1"
    pairs = lists.pairs(lambda i, j: (i > j) | every)
    assert (pairs == 0).sum() > 50 or every
    assert_equal(
        lambda scores: (pairs * lists.losses(name, scores)).sum() / pairs.sum(), loss, lists.scores
    )


def test_listnet_is_that_of_sentence_transformers(
    theirs: Any, in_double: None, lists: Lists
) -> None:
    loss = listwise(theirs, "ListNetLoss", lists, lists.gains)
    assert_equal(lambda scores: lists.losses("listnet", scores).mean(), loss, lists.scores)


def test_listmle_is_that_of_sentence_transformers(
    theirs: Any, in_double: None, lists: Lists
) -> None:
    """Theirs takes lists as sorted; of rows whose gains are equal, ours takes them as they come, too."""
    lists.sorted_by_gain()
    loss = listwise(theirs, "ListMLELoss", lists, lists.labels, respect_input_order=True)
    assert_equal(lambda scores: lists.losses("listmle", scores).mean(), loss, lists.scores)


def test_margin_mse_is_that_of_sentence_transformers(
    theirs: Any, in_double: None, lists: Lists
) -> None:
    """Theirs is of pairs, with a sigmoid behind the logits where the teacher has one."""
    one, other = [], []
    for first, end in pairwise(lists.bounds):
        i, j = torch.triu_indices(end - first, end - first, 1)
        one += (first + i).tolist()
        other += (first + j).tolist()
    margins = lists.gains[one] - lists.gains[other]

    def loss(scores: Tensor) -> Tensor:
        made = theirs.MarginMSELoss(made_for(theirs, scores), activation_fn=nn.Sigmoid())
        value: Tensor = made([["query"] * len(one), one, other], margins)
        return value

    pairs = lists.pairs(lambda i, j: torch.ones_like(i == j)) - torch.from_numpy(lists.sizes)
    assert_equal(
        lambda scores: (pairs * lists.losses("margin-mse", scores)).sum() / pairs.sum(),
        loss,
        lists.scores,
    )


# --- the formulas
# -------------------------------------------------------------------------------------------------


def plain_ranknet(scores: Tensor, gains: Tensor) -> Tensor:
    better = gains[:, None] > gains[None]
    costs = torch.log1p(torch.exp(scores[None] - scores[:, None]))
    return costs[better].mean() if better.any() else 0 * scores.sum()


def plain_listnet(scores: Tensor, gains: Tensor) -> Tensor:
    return -(torch.softmax(gains, 0) * torch.log_softmax(scores, 0)).sum()


def plain_approx_ndcg(scores: Tensor, gains: Tensor) -> Tensor:
    """Qin et al. 2010, equations 11 and 13: positions by logistic functions of the differences."""
    n = len(scores)
    if not gains.any():
        return 0 * scores.sum()
    exponents = (scores[:, None] - scores[None]) / TEMPERATURE
    others = ~torch.eye(n, dtype=torch.bool)
    positions = 1 + (torch.exp(-exponents) / (1 + torch.exp(-exponents)) * others).sum(1)
    ideal = (gains.sort(descending=True).values / torch.log2(torch.arange(2.0, n + 2))).sum()
    return 1 - (gains / torch.log2(1 + positions)).sum() / ideal


def plain_margin_mse(scores: Tensor, gains: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    if not len(i):
        return 0 * scores.sum()
    predicted = torch.sigmoid(scores)
    return ((predicted[i] - predicted[j]) - (gains[i] - gains[j])).square().mean()


FORMULAS = {
    "ranknet": plain_ranknet,
    "listnet": plain_listnet,
    "approx-ndcg": plain_approx_ndcg,
    "margin-mse": plain_margin_mse,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_their_formulas(name: str, lists: Lists) -> None:
    def plain(scores: Tensor) -> Tensor:
        parts = zip(*(x.split(lists.sizes.tolist()) for x in (scores, lists.gains)), strict=True)
        return torch.stack([FORMULAS[name](*part) for part in parts]).sum()

    assert_equal(lambda scores: lists.losses(name, scores).sum(), plain, lists.scores)


# Two rows in the wrong order, gains 1 and 0 and scores 0 and log 3: s_j - s_i = log 3.
WRONG = {
    "ranknet": math.log(1 + 3),
    "lambdarank": math.log2(1 + 3) * (1 - 1 / math.log2(3)),
    # All four pairs; the row of gain 1 lies second.
    "ndcg-loss1": (math.log2(1 + 3) + math.log2(1 + 1)) / math.log2(3) / 4,
    "ndcg-loss2": math.log2(1 + 3) * (1 / math.log2(2) - 1 / math.log2(3)),
    "ndcg-loss2pp": math.log2(1 + 3) * (10 + 1) * (1 - 1 / math.log2(3)),
    "listnet": -(math.e * math.log(1 / 4) + math.log(3 / 4)) / (math.e + 1),
    "listmle": -math.log(1 / 4),
    "approx-ndcg": 1 - 1 / math.log2(1 + 1 + 3**10 / (1 + 3**10)),
    "margin-mse": ((1 / 2 - 3 / 4) - (1 - 0)) ** 2,
}


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_two_rows_by_hand(name: str) -> None:
    scores = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    gains = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    loss = RANKING_LOSSES[name](scores, gains, torch.ones(1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(WRONG[name], rel=1e-9)


# --- every list
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_no_list_gives_nan_and_one_row_moves_nothing(
    name: str, spread: float, dtype: torch.dtype
) -> None:
    """Scores all alike, usual and extreme; padding has no gradient."""
    lists = Lists(lists=200)
    present = lists.padded(torch.ones_like(lists.gains)).bool()
    scores = (spread * lists.padded(lists.scores)).to(dtype).requires_grad_()
    losses = RANKING_LOSSES[name](scores, lists.padded(lists.gains).to(dtype), present)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)

    assert bool(torch.isfinite(losses).all())
    assert bool((losses > -1e-5).all())
    assert bool(torch.isfinite(gradient).all())
    assert not bool(gradient[~present].any())
    alone = torch.from_numpy(lists.sizes) == 1
    assert float(gradient[alone].abs().max()) <= 1e-6


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_rows_in_another_order_have_the_same_loss(name: str) -> None:
    """But for the likelihood of an order, which breaks ties by it."""
    rng = np.random.default_rng(5)
    scores = torch.from_numpy(rng.normal(size=(50, 9)))
    gains = torch.from_numpy(
        rng.random((50, 9)) if name == "listmle" else rng.choice(GAINS, (50, 9))
    )
    present = torch.ones(50, 9, dtype=torch.bool)
    order = torch.from_numpy(rng.permutation(9))
    loss = RANKING_LOSSES[name]
    torch.testing.assert_close(
        loss(scores[:, order], gains[:, order], present), loss(scores, gains, present)
    )


def test_the_score_of_classes_is_the_log_odds_of_their_expected_gain() -> None:
    gains = torch.tensor([1.0, 0.1, 0.01, 0.0], dtype=torch.float64)
    # Probabilities 1/2, 1/4, 1/8, 1/8.
    logits = torch.tensor([[4.0, 2.0, 1.0, 1.0]], dtype=torch.float64).log()
    expected = 1 / 2 + 0.1 / 4 + 0.01 / 8
    score = gain_log_odds(logits + 7, gains)
    assert score.item() == pytest.approx(math.log(expected / (1 - expected)), abs=1e-12)

    # One logit is that of the gain itself; certain classes give nothing infinite.
    assert gain_log_odds(logits[:, :1], None).item() == math.log(4)
    certain = torch.tensor([[900.0, 0, 0, 0], [0, 0, 0, 900.0]], requires_grad=True)
    scores = gain_log_odds(certain, gains.float())
    (gradient,) = torch.autograd.grad(scores.sum(), certain)
    assert bool(torch.isfinite(scores).all())
    assert bool(torch.isfinite(gradient).all())
