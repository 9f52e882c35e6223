"""What the benchmarks compare does the same mathematics, and those for GPUs run wherever there is none."""

from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.limit import Stopwatch as Products
from benchmarks.loop import Graded, Rows, ours, plain_loop
from benchmarks.reference import Reference
from benchmarks.rounds import ratio, train_ours, without_dropout
from benchmarks.start import apart, follow
from benchmarks.step import METHODS, TOLERANCE
from benchmarks.stopwatch import PREDICTION, REST, STAGES, Stopwatch
from competition.models.encoder.model import RelevanceModel
from competition.training.samples import Sample
from tests.esci import KINDS, label_codes
from tests.training.conftest import Bench, bench, make_recipe

__all__ = ["bench"]  # the fixture


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_reference_loop_has_our_losses(
    method: str, lean: bool, bench: Bench, tmp_path: Path
) -> None:
    asked = make_recipe(
        features=(),
        batch_size=8,
        epochs=2,
        learning_rate=1e-3,
        lean=lean,
        precision="fp32",
        **METHODS[method],
    )
    known = bench.sample(asked)
    sample = Sample(known.pairs, known.rows, known.target, np.ones(24))
    one, other = (
        without_dropout(RelevanceModel.make(asked, KINDS[asked.kind], bench.sources, 5))
        for _ in range(2)
    )
    expected = Reference(one, asked, sample, torch.device("cpu")).train()
    found = train_ours(asked, other, sample, tmp_path / "log.jsonl")
    assert len(found) == 6
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert abs(found[0] - found[-1]) > 10 * TOLERANCE  # something was learned


def test_products_are_counted_forwards_and_backwards() -> None:
    layer = torch.nn.Linear(8, 4)
    queries = torch.ones(1, 2, 3, 5)  # of two heads with 3 tokens of 5 numbers
    with Products() as watch:
        layer(torch.ones(3, 8)).sum().backward()
        with torch.inference_mode():
            torch.nn.functional.scaled_dot_product_attention(queries, queries, queries)
    counted = sum(each.operations * len(each.seconds) for each in watch.products.values())
    # The rows' products and the gradient of the weights; of attention, scores and what they weigh.
    assert counted == 2 * (3 * 8 * 4) + 2 * (3 * 8 * 4) + 2 * (2 * 2 * 3 * 3 * 5)
    assert all(each.alone() > 0 for each in watch.products.values())


def test_ratios_are_within_a_round() -> None:
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0  # of 2, 3 and 4


def test_what_the_stopwatch_times_is_there() -> None:
    for functions in STAGES.values():
        for function in functions:
            module, _, path = function.partition(":")
            assert callable(attrgetter(path)(import_module(module))) or path == "Step.state"


def test_of_nested_stages_the_inner_one_counts() -> None:
    watch = Stopwatch()
    with watch.stage("outer"), watch.stage("inner"):
        pass
    with watch.stage(PREDICTION), watch.stage("training: forwards"):
        pass
    assert set(watch.times) == {REST, "outer", "inner", PREDICTION}
    assert all(seconds >= 0 for pair in watch.times.values() for seconds in pair)


def test_the_benchmark_for_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(small=True)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| method", "| plain", "| EMA, FGM, R-Drop"]
    if not torch.cuda.is_available():
        gpu.main(small=False)
        assert capsys.readouterr().out == "This benchmark needs a GPU, and there is none here.\n"


def test_the_plain_loop_and_ours_are_graded_on_rows_that_neither_has_seen(bench: Bench) -> None:
    rows = Rows.of(None, 40)
    unseen = rows.examples.iloc[rows.answered]
    assert len(rows.train) == 40
    assert not set(unseen["query_id"]) & set(rows.examples["query_id"].iloc[rows.train])
    asked = make_recipe(
        features=(), pooling="mean", max_length=32, epochs=1, batch_size=10, learning_rate=1e-3
    )
    few = replace(rows, answered=rows.answered[:30])
    for train in (plain_loop, ours):
        found = train(few, bench.sources.encoder, asked, 1)
        assert found.shape == (30, 4)
        assert np.abs(found.sum(1) - 1).max() < 1e-6
        assert found.std(0).max() > 1e-3
    exact = np.eye(4)[label_codes(unseen["label"])]
    graded = Graded.of(rows, exact)
    assert graded.auc == 1
    assert graded.ranking.values[:, 0].min() == 1
    assert Graded.of(rows, exact[:, [3, 1, 2, 0]]).auc < 0.5


def test_texts_that_are_all_alike_have_a_cosine_of_one_and_no_deviation(bench: Bench) -> None:
    rows = Rows.of(None, 40)
    asked = make_recipe(
        features=(),
        pooling="mean",
        max_length=24,
        batch_size=16,
        learning_rate=1e-3,
        prior_bias=True,
    )
    before, behind = follow(rows, bench.sources.encoder, asked, 1)
    assert before != behind
    assert all(0 < found < 1 for found in (*before, *behind))
    model = bench.model(asked)
    with torch.no_grad():
        model.encoder.get_input_embeddings().weight.zero_()
        model.encoder.embeddings.position_embeddings.weight.zero_()
        types = model.encoder.embeddings.token_type_embeddings.weight
        types.copy_(torch.linspace(-1, 1, types.shape[1]))
    assert apart(model, bench.pairs(asked), np.arange(24), asked) == pytest.approx(
        (1, 0, 0), abs=1e-6
    )
