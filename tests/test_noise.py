"""The audit finds planted noise by id and drops no more than it may."""

import numpy as np
import pandas as pd
import pytest

from competition import noise
from competition.errors import CompError
from competition.tasks import LABELS


def planted(rows: int = 800, wrong: int = 40) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Confident probabilities of the true label, examples of which `wrong` are labelled otherwise, and their ids."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, rows)
    probabilities = np.full((rows, 4), 0.04) + rng.random((rows, 4)) * 0.02
    probabilities[np.arange(rows), true] = 0.85
    probabilities /= probabilities.sum(1, keepdims=True)
    given = true.copy()
    given[:wrong] = (true[:wrong] + 1) % 4
    ids = rng.permutation(10_000)[:rows]
    outputs = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in LABELS]).assign(example_id=ids)
    examples = pd.DataFrame({"example_id": ids, "label": np.array(LABELS)[given], "locale": "us"})
    return outputs, examples, ids[:wrong]


def test_planted_noise_is_found() -> None:
    outputs, examples, wrong = planted()
    flags = noise.audit(outputs, examples, fraction=0.1)
    assert set(noise.dropped_ids(flags)) == set(wrong)
    ranked = flags.dropna(subset="rank").sort_values("rank")
    assert ranked["rank"].tolist() == list(range(1, len(wrong) + 1))
    assert (ranked["suggested"] != ranked["given"]).all()


def test_no_more_than_the_fraction_is_dropped_and_the_worst_go_first() -> None:
    outputs, examples, _ = planted()
    flags = noise.audit(outputs, examples, fraction=0.02)
    assert flags["dropped"].sum() == int(0.02 * 800)
    assert flags.loc[flags["dropped"], "rank"].max() == flags["dropped"].sum()


def test_order_of_rows_changes_nothing() -> None:
    outputs, examples, _ = planted()
    one = noise.audit(outputs, examples, 0.04)
    other = noise.audit(outputs.sample(frac=1, random_state=1), examples.sample(frac=1, random_state=2), 0.04)
    pd.testing.assert_frame_equal(one, other)


def test_a_label_that_never_occurs_is_named() -> None:
    outputs, examples, _ = planted()
    with pytest.raises(CompError, match="No audited row is labelled 'complement'"):
        noise.audit(outputs, examples[examples["label"] != "complement"], 0.04)


def test_summary_counts_by_label_and_locale() -> None:
    outputs, examples, _ = planted()
    flags = noise.audit(outputs, examples, 0.02)
    table = noise.summary(flags, examples)
    assert table.loc["all", "rows"] == 800
    assert table.loc[[f"label {name}" for name in sorted(LABELS)], "dropped"].sum() == table.loc["all", "dropped"] == 16
