"""Losses of whole candidate lists: scores and gains `(lists, length)` -> one loss per list `(lists,)`.

Lists are padded to the longest of them; `present` says where a row is, and padding holds zeros. A
gain is a number of at least 0, the one that the competition's nDCG adds up: where a paper writes
2^y - 1, the gain stands. Rows of equal gain are no pair, and for `listmle` in the order in which
they lie. A list of one row has no order, so that its loss is constant; no list gives NaN.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ListwiseLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Weights `(lists, length, length)` of pairs, by gains over the ideal DCG `(lists, length)` in the order of the scores.
PairWeights = Callable[[Tensor], Tensor]

MU = 10.0  # of NDCG-Loss2++
TEMPERATURE = 0.1  # of ApproxNDCG
_TINY_DCG = 1e-10  # of a list without any gain, whose weights are 0 over this


def gain_log_odds(logits: Tensor, gains: Tensor | None) -> Tensor:
    """Return the score by which a row is ranked: the log odds log(E / (1 - E)) of its predicted gain E, `(batch,)`.

    Args:
        logits: `(batch, outputs)`; a single one is that of the gain itself.
        gains: of the classes whose probabilities the logits are, `(outputs,)` in 0..1.
    """
    if gains is None:
        return logits[:, 0]

    # E = sum_c p_c g_c and 1 - E = sum_c p_c (1 - g_c); what normalises p cancels.
    return torch.logsumexp(logits + gains.log(), 1) - torch.logsumexp(logits + (-gains).log1p(), 1)


# --- pairs ---


def _pairs(present: Tensor) -> Tensor:
    """Return which pairs are of two rows, `(lists, length, length)`."""
    return present[:, :, None] & present[:, None, :]


def _differences(values: Tensor) -> Tensor:
    """Return value i minus value j, `(lists, length, length)`."""
    return values[:, :, None] - values[:, None, :]


def _mean_over(pairs: Tensor, losses: Tensor) -> Tensor:
    """Return the mean loss of the pairs of each list, `(lists,)`; 0 where there is none."""
    return losses.masked_fill(~pairs, 0.0).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)


def ranknet(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
    """Return the mean of log(1 + exp(s_j - s_i)) over pairs with gain i > gain j (Burges et al. 2005)."""
    better = _pairs(present) & (_differences(gains) > 0)
    return _mean_over(better, -functional.logsigmoid(_differences(scores)))


def margin_mse(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
    """Return the mean squared error of the differences between two rows' gains (Hofstätter et al. 2020).

    Of predicted gains, sigmoid(score), which are on the scale of the gains.
    """
    itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    errors = _differences(torch.sigmoid(scores)) - _differences(gains)
    return _mean_over(_pairs(present) & ~itself, errors.square())


# --- LambdaLoss (Wang et al. 2018) ---


def _discounts(ranks: Tensor) -> Tensor:
    """Return what DCG divides the gains at some ranks, from 1, by."""
    return torch.log2(1 + ranks)


def _ranks(gains: Tensor) -> Tensor:
    """Return 1, 2, … `(length,)`, in the type of the gains."""
    return torch.arange(1, gains.shape[1] + 1, device=gains.device, dtype=gains.dtype)


def _ideal_dcg(gains: Tensor) -> Tensor:
    """Return the DCG of each list in its best order, `(lists, 1)`; padding has no gain."""
    best = gains.sort(1, descending=True).values
    return (best / _discounts(_ranks(gains))).sum(1, keepdim=True)


def _by_gain(gains: Tensor) -> Tensor:
    """Weigh pairs as NDCG-Loss1: the gain of the first over its discount."""
    return (gains / _discounts(_ranks(gains)))[:, :, None].expand(-1, -1, gains.shape[1])


def _by_distance(gains: Tensor) -> Tensor:
    """Weigh pairs as NDCG-Loss2: by their difference in gain, times that of discounts as far down as they lie apart."""
    ranks = _ranks(gains)
    # A row is no pair with itself.
    apart = (ranks[:, None] - ranks).abs().clamp_min(1)
    change = 1 / _discounts(apart) - 1 / _discounts(apart + 1)
    return change * _differences(gains).abs()


def _by_swap(gains: Tensor) -> Tensor:
    """Weigh pairs as LambdaRank (Burges et al. 2006): by how much nDCG changes where the two swap their ranks."""
    inverse = 1 / _discounts(_ranks(gains))
    return (inverse[:, None] - inverse).abs() * _differences(gains).abs()


def _by_both(gains: Tensor) -> Tensor:
    """Weigh pairs as NDCG-Loss2++: MU times NDCG-Loss2 and LambdaRank."""
    return MU * _by_distance(gains) + _by_swap(gains)


def _lambda_loss(weigh: PairWeights, all_pairs: bool = False) -> ListwiseLoss:
    """Return the loss -w_ij log2 sigmoid(s_i - s_j), averaged over pairs with gain i > gain j, or over all of them."""

    def loss(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
        order = scores.masked_fill(~present, -math.inf).argsort(stable=True, dim=1, descending=True)
        scores, gains, present = (each.gather(1, order) for each in (scores, gains, present))

        pairs = _pairs(present)
        if not all_pairs:
            pairs &= _differences(gains) > 0
        weights = weigh(gains / _ideal_dcg(gains).clamp_min(_TINY_DCG))
        losses = -weights * functional.logsigmoid(_differences(scores)) / math.log(2)
        return _mean_over(pairs, losses)

    return loss


# --- lists ---


def listnet(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
    """Return the cross entropy between softmax(gains) and softmax(scores) (Cao et al. 2007, top one)."""
    target = torch.softmax(gains.masked_fill(~present, -math.inf), 1)
    lowest = torch.finfo(scores.dtype).min
    log_p = torch.log_softmax(scores.masked_fill(~present, lowest), 1)
    return -(target * log_p.masked_fill(~present, 0.0)).sum(1)


def listmle(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
    """Return -log P of the order by gain, sum_i [log sum_(j >= i) exp(s_j) - s_i] (Xia et al. 2008)."""
    order = gains.masked_fill(~present, -math.inf).argsort(stable=True, dim=1, descending=True)
    present = present.gather(1, order)
    scores = scores.gather(1, order).masked_fill(~present, torch.finfo(scores.dtype).min)

    # Over the rows from each one on.
    log_sums = torch.logcumsumexp(scores.flip(1), 1).flip(1)
    return (log_sums - scores).masked_fill(~present, 0.0).sum(1)


def approx_ndcg(scores: Tensor, gains: Tensor, present: Tensor) -> Tensor:
    """Return 1 - nDCG with the smooth ranks 1 + sum_(j != i) sigmoid((s_j - s_i) / TEMPERATURE) (Qin et al. 2010).

    It is 0 for a list without any gain.
    """
    above = torch.sigmoid(-_differences(scores) / TEMPERATURE)  # of j over i
    ranks = 0.5 + above.masked_fill(~_pairs(present), 0.0).sum(2)  # over itself by a half
    ideal = _ideal_dcg(gains)
    ndcg = (gains / _discounts(ranks) / ideal.clamp_min(_TINY_DCG)).sum(1)
    return torch.where(ideal[:, 0] > 0, 1 - ndcg, 0.0)


RANKING_LOSSES: dict[str, ListwiseLoss] = {
    "ranknet": ranknet,
    "lambdarank": _lambda_loss(_by_swap),
    "ndcg-loss1": _lambda_loss(_by_gain, all_pairs=True),
    "ndcg-loss2": _lambda_loss(_by_distance),
    "ndcg-loss2pp": _lambda_loss(_by_both),
    "listnet": listnet,
    "listmle": listmle,
    "approx-ndcg": approx_ndcg,
    "margin-mse": margin_mse,
}
