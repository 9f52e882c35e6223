"""Pre-training as a whole: what is kept, what it is chosen by, and what nothing is learned from."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.console import progress
from competition.core.errors import CompError, Diverged, InputError
from competition.core.json_files import read_manifest
from competition.data.border import PRODUCT_KEY
from competition.data.catalogue import IGNORED, Catalogue, held_out_mask
from competition.data.pairs import SpecialTokens
from competition.data.pretraining_examples import TaskTexts
from competition.data.text import clean
from competition.data.vocabulary import MISSING, RARE, Vocabulary
from competition.models.encoder.embeddings import load_names
from competition.models.encoder.encoder import load_encoder, load_tokenizer
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.encoder.pretraining_card import (
    best_epoch,
    mlm_loss,
    read_epochs,
    read_losses,
)
from competition.models.encoder.pretraining_model import PretrainingModel
from competition.training import pretrain as room
from competition.training.batches import epoch_batches
from competition.training.held_out_titles import MASKINGS, HeldOutTitles
from competition.training.loop import Log, make_accelerator
from competition.training.oom import Budget
from competition.training.pretrain import pretrain
from competition.training.pretraining_gradients import PretrainingGradients
from tests.esci import CONTEST, KINDS
from tests.processes import forked
from tests.training.conftest import ALL_AT_ONCE, IN_MICRO_BATCHES, Shelf, make_small, pretraining
from tests.training.two_processes_pretraining import main, train

pytestmark = pytest.mark.slow


def run(
    shelf: Shelf, recipe: PretrainingRecipe, folder: Path, products: pd.DataFrame | None = None
) -> Path:
    """Pre-train on the shelf's products, unless others are named; returns the encoder's folder."""
    read = shelf.products if products is None else products
    pretrain(
        recipe,
        read,
        CONTEST,
        shelf.sources,
        folder / "encoder",
        "inputs",
        Log(folder / "log.jsonl"),
    )
    return folder / "encoder"


def weights(folder: Path) -> dict[str, Tensor]:
    """The encoder's and those of the names."""
    return {**load_file(folder / "model.safetensors"), **load_names(folder)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether both hold the same."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def done(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder after two epochs of all tasks, with averaged weights."""
    return run(
        shelf, pretraining(epochs=2, batch_size=32, ema=0.99), tmp_path_factory.mktemp("done")
    )


# --- what is written
# ---------------------------------------------------------------------------------------------


def test_the_folder_is_an_ordinary_encoder_that_has_learned(done: Path, shelf: Shelf) -> None:
    assert read_manifest(done) == "inputs"
    before, after = (
        dict(load_encoder(folder).named_parameters()) for folder in (shelf.sources.encoder, done)
    )
    assert before.keys() == after.keys()
    # A key's bias moves every score of a query alike, so that nothing is learned for it.
    assert all(
        not torch.equal(before[name], after[name])
        for name in before
        if not name.endswith("key.bias")
    )
    assert load_tokenizer(done).get_vocab() == load_tokenizer(shelf.sources.encoder).get_vocab()


def test_names_are_saved_with_a_row_for_each_name_of_the_vocabulary(
    done: Path, shelf: Shelf
) -> None:
    assert shelf.sources.vocabulary is not None
    vocabulary, found = Vocabulary.load(shelf.sources.vocabulary), load_names(done)
    shapes = {name: tuple(table.shape) for name, table in found.items()}
    assert shapes == {
        "brand": (RARE + 1 + len(vocabulary.names["brand"]), 128),
        "color": (RARE + 1 + len(vocabulary.names["color"]), 128),
    }
    assert all(
        not table[MISSING].any() and table[RARE + 1 :].any(1).all() for table in found.values()
    )
    recipe = EncoderRecipe(name="x", features=("brand", "color", "country"), max_length=32)
    model = RelevanceModel.make(
        recipe, KINDS[recipe.kind], replace(shelf.sources, encoder=done, names=done), seed=1
    )
    assert model.features is not None
    assert all(
        torch.equal(model.features.tables[name].weight, table) for name, table in found.items()
    )


def test_the_same_recipe_gives_the_same_bytes(done: Path, shelf: Shelf, tmp_path: Path) -> None:
    torch.manual_seed(99)  # whatever was drawn before
    again = run(shelf, pretraining(epochs=2, batch_size=32, ema=0.99), tmp_path)
    files = sorted(path.name for path in done.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert "names.safetensors" in files
    assert all((again / name).read_bytes() == (done / name).read_bytes() for name in files)
    other = run(shelf, pretraining(epochs=2, batch_size=32, ema=0.99, seed=5), tmp_path / "other")
    assert not same(weights(other), weights(done))


def test_each_epoch_reads_every_block_once_in_the_order_of_the_seed(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[np.ndarray] = []

    def compute(self: PretrainingGradients, batch: np.ndarray, step: int) -> Tensor:
        assert step == len(read)
        read.append(batch)
        return torch.zeros(())

    monkeypatch.setattr(PretrainingGradients, "compute", compute)
    run(shelf, pretraining(epochs=2, batch_size=50, seed=5), tmp_path)
    blocks = sum(map(len, read)) // 2
    expected = [rows for epoch in (0, 1) for rows in epoch_batches(blocks, 50, 5, epoch)]
    assert [rows.tolist() for rows in read] == [rows.tolist() for rows in expected]


def test_an_older_folder_is_replaced(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "names.safetensors").write_text("of another time")
    folder = run(shelf, pretraining(batch_size=200, brand=0.0, color=0.0), tmp_path)
    assert not (folder / "names.safetensors").exists()
    assert load_encoder(folder) is not None


def shelf_without(shelf: Shelf, folder: Path, *names: str) -> Shelf:
    """The same with a catalogue that lacks brands or colors."""
    products = shelf.products.assign(**dict.fromkeys(names, ""))
    without = Shelf(Sources(shelf.sources.encoder, folder / "vocabulary"), products)
    vocabulary = Vocabulary.make(without.described, CONTEST.categories)
    vocabulary.save(folder / "vocabulary", "test")
    return without


@pytest.mark.parametrize(
    ("lost", "keys", "learned"),
    [
        (("brand", "color"), {}, set()),
        (("color",), {}, {"brand"}),
        (("color",), {"brand": 0.0}, set()),
        (("brand",), {"color": 0.0}, set()),
    ],
)
def test_names_that_the_catalogue_lacks_are_not_learned(
    lost: tuple[str, ...], keys: dict[str, float], learned: set[str], shelf: Shelf, tmp_path: Path
) -> None:
    """And a recipe that has them as features starts from random ones."""
    bare = shelf_without(shelf, tmp_path, *lost)
    folder = run(bare, pretraining(batch_size=200, **keys), tmp_path)
    assert set(read_epochs(folder)[1].learned) == {"token", "match", "contrastive"} | learned
    recipe = EncoderRecipe(name="x", features=("brand", "color", "country"), max_length=32)
    RelevanceModel.make(
        recipe, KINDS[recipe.kind], replace(bare.sources, encoder=folder, names=folder), seed=1
    )


# --- the card
# ----------------------------------------------------------------------------------------------------


def test_the_card_can_be_recomputed_from_its_table(done: Path, shelf: Shelf) -> None:
    epochs = read_epochs(done)
    assert [epoch.number for epoch in epochs] == [0, 1, 2]
    table = pd.read_parquet(done / "held_out.parquet")
    held = shelf.products[held_out_mask(shelf.products["title"])]
    assert table[PRODUCT_KEY].to_numpy().tolist() == held[PRODUCT_KEY].to_numpy().tolist()
    for epoch in epochs:
        loss = table[f"loss_{epoch.number}"].sum() / table["masked"].sum()
        assert epoch.held_out.value == pytest.approx(loss, abs=1e-12)
        assert mlm_loss(read_losses(done, "inputs", epoch.number)) == epoch.held_out
        assert epoch.held_out.queries == len(held)
    assert epochs[2].held_out.value < epochs[0].held_out.value  # it learns
    assert epochs[0].learned == {}
    for epoch in epochs[1:]:
        assert set(epoch.learned) == {"token", "match", "brand", "color", "contrastive"}
    card = json.loads((done / "pretraining.json").read_text())
    assert card["recipe"] == pretraining(epochs=2, batch_size=32, ema=0.99).model_dump(mode="json")


def test_the_log_has_the_held_out_loss_of_each_epoch(done: Path) -> None:
    lines = [json.loads(line) for line in (done.parent / "log.jsonl").read_text().splitlines()]
    held_out_losses = {
        line["epoch"]: line["held_out_mlm"] for line in lines if "held_out_mlm" in line
    }
    assert held_out_losses == {epoch.number: epoch.held_out.value for epoch in read_epochs(done)}


# --- which weights are kept
# --------------------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[dict[str, Tensor]]]:
    """Lets held-out losses be what one says; the weights that were measured are what it returns."""

    def script(held_out_losses: list[float]) -> list[dict[str, Tensor]]:
        measured: list[dict[str, Tensor]] = []

        def losses(
            self: HeldOutTitles, accelerator: object, model: PretrainingModel, budget: Budget
        ) -> np.ndarray:
            assert len(measured) < len(held_out_losses)
            measured.append({name: p.detach().clone() for name, p in model.state_dict().items()})
            return np.tile([held_out_losses[len(measured) - 1], 1.0], (len(self.products), 1))

        monkeypatch.setattr(HeldOutTitles, "losses", losses)
        return measured

    return script


@pytest.mark.parametrize(
    ("held_out_losses", "best", "ema"),
    [
        ([1.0, 5.0, 3.0, 4.0], 2, 0.0),
        ([1.0, 2.0, 6.0, 7.0], 1, 0.9),
        ([9.0, 8.0, 7.0, 6.0], 3, 0.0),
    ],
)
def test_the_epoch_with_the_lowest_held_out_loss_is_kept(
    held_out_losses: list[float],
    best: int,
    ema: float,
    shelf: Shelf,
    tmp_path: Path,
    scripted: Callable,
) -> None:
    measured = scripted(held_out_losses)
    folder = run(shelf, pretraining(epochs=3, batch_size=200, ema=ema), tmp_path)
    found = best_epoch(read_epochs(folder))
    assert len(measured) == 4
    assert found is not None
    assert found.number == best
    expected = {
        name.removeprefix("encoder."): p
        for name, p in measured[best].items()
        if name.startswith("encoder.")
    }
    expected |= {name: measured[best][f"names.{name}.table.weight"] for name in ("brand", "color")}
    assert same(weights(folder), expected)
    assert not same(measured[1], measured[2])
    assert not same(measured[2], measured[3])


def test_averaged_weights_are_measured_and_kept(shelf: Shelf, tmp_path: Path) -> None:
    """One step: a = d w0 + (1 - d) w1 with d = 2 / 11."""
    recipe = pretraining(batch_size=1000, learning_rate=0.01, warmup=0.0)
    raw = weights(run(shelf, recipe, tmp_path / "raw"))
    averaged = weights(run(shelf, recipe.model_copy(update={"ema": 0.999}), tmp_path / "averaged"))
    start = load_file(shelf.sources.encoder / "model.safetensors")
    for name, w0 in start.items():
        torch.testing.assert_close(
            averaged[name], 2 / 11 * w0 + 9 / 11 * raw[name], rtol=0, atol=1e-6
        )


def test_weights_that_diverge_are_not_the_ones_that_are_kept(shelf: Shelf, tmp_path: Path) -> None:
    folder = run(
        shelf, pretraining(epochs=3, batch_size=64, learning_rate=30.0, warmup=0.0), tmp_path
    )
    epochs = read_epochs(folder)
    best = best_epoch(epochs)
    assert best is not None
    assert best.held_out.value == min(epoch.held_out.value for epoch in epochs[1:])
    assert epochs[0].held_out.value < best.held_out.value  # and yet the start is not kept
    assert not same(
        load_file(folder / "model.safetensors"),
        load_file(shelf.sources.encoder / "model.safetensors"),
    )


# --- held-out titles
# ---------------------------------------------------------------------------------------------


def held_out(shelf: Shelf, recipe: PretrainingRecipe) -> HeldOutTitles:
    """Six titles."""
    return HeldOutTitles.make(
        shelf.products.head(6), "title", load_tokenizer(shelf.sources.encoder), recipe
    )


def test_titles_are_masked_once_and_for_all(shelf: Shelf) -> None:
    recipe = pretraining(masked=0.4)
    titles, again = held_out(shelf, recipe), held_out(shelf, recipe)
    tokenizer = load_tokenizer(shelf.sources.encoder)
    special = SpecialTokens.of(tokenizer)
    assert len(titles.texts) == 6 * MASKINGS
    for number, (seen, target) in enumerate(
        zip(titles.texts.ids, titles.texts.targets["token"], strict=True)
    ):
        title = clean(shelf.products["title"].iloc[number // MASKINGS])
        whole = [
            special.first,
            *tokenizer(title, add_special_tokens=False)["input_ids"],
            special.separator,
        ]
        assert np.where(target == IGNORED, seen, target).tolist() == whole
        assert target[0] == target[-1] == IGNORED
        assert seen.tolist() == again.texts.ids[number].tolist()
    distinct = {tuple(target) for target in titles.texts.targets["token"][:MASKINGS]}
    assert len(distinct) > 1  # maskings of one title differ


def test_the_held_out_loss_does_not_depend_on_the_batches(shelf: Shelf) -> None:
    recipe, accelerator = pretraining(masked=0.4), make_accelerator()
    model, titles = shelf.model(recipe, shelf.examples(recipe)), held_out(shelf, recipe)
    losses = titles.losses(accelerator, model, Budget(ALL_AT_ONCE))
    assert losses.shape == (6, 2)
    for budget in (1, IN_MICRO_BATCHES, 200):
        passes: list[int] = []
        handle = model.register_forward_pre_hook(
            lambda module, given, n=passes: n.append(len(given[1].ids))
        )
        other = titles.losses(accelerator, model, Budget(budget))
        handle.remove()
        assert sum(passes) == 6 * MASKINGS
        assert len(passes) > 3
        assert budget > 1 or passes == [1] * (6 * MASKINGS)
        np.testing.assert_allclose(other, losses, rtol=0, atol=1e-5)
        assert np.array_equal(other[:, 1], losses[:, 1])
    for product in range(6):
        alone = replace(
            titles, products=titles.products.iloc[[product]], texts=part(titles, product)
        )
        np.testing.assert_allclose(
            alone.losses(accelerator, model, Budget(ALL_AT_ONCE)),
            losses[[product]],
            rtol=0,
            atol=1e-5,
        )
        masked = sum(int((target != IGNORED).sum()) for target in alone.texts.targets["token"])
        assert losses[product, 1] == masked
        assert 0.3 * masked < losses[product, 0] < 20 * masked


def part(titles: HeldOutTitles, product: int) -> TaskTexts:
    """The texts of one product."""
    mine = slice(product * MASKINGS, (product + 1) * MASKINGS)
    targets = {name: values[mine] for name, values in titles.texts.targets.items()}
    return replace(
        titles.texts,
        ids=titles.texts.ids[mine],
        first_text=titles.texts.first_text[mine],
        targets=targets,
    )


def test_measuring_draws_nothing_and_leaves_the_mode_alone(shelf: Shelf) -> None:
    recipe, accelerator = pretraining(), make_accelerator()
    model, titles = shelf.model(recipe, shelf.examples(recipe)).train(), held_out(shelf, recipe)
    torch.manual_seed(1)
    losses = titles.losses(accelerator, model, Budget(ALL_AT_ONCE))
    assert model.training
    assert np.array_equal(titles.losses(accelerator, model, Budget(ALL_AT_ONCE)), losses)
    assert all(p.grad is None for p in model.parameters())
    titles.losses(accelerator, model.eval(), Budget(ALL_AT_ONCE))
    assert not model.training


def test_held_out_products_are_never_trained_on(
    done: Path, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[pd.DataFrame] = []

    class Watched(Catalogue):
        @classmethod
        def make(cls, tokenizer: object, products: pd.DataFrame, *rest: object) -> Catalogue:
            read.append(products)
            return Catalogue.make(tokenizer, products, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "Catalogue", Watched)
    held = held_out_mask(shelf.products["title"])
    assert 3 < held.sum() < 20
    products = shelf.products.assign(
        description=shelf.products["description"].mask(held, "something else altogether"),
        bullets=shelf.products["bullets"].mask(held, "words that no other product has"),
        copies=shelf.products["copies"].mask(held, 9),
    )
    folder = run(shelf, pretraining(epochs=2, batch_size=32, ema=0.99), tmp_path, products)
    assert same(weights(folder), weights(done))
    assert read_epochs(folder) == read_epochs(done)
    ids = set(pd.read_parquet(folder / "held_out.parquet")["product_id"])
    assert ids == set(shelf.products.loc[held, "product_id"])
    assert ids.isdisjoint(read[0]["product_id"])
    assert len(ids) + len(read[0]) == len(shelf.products)
    titles = set(shelf.products.loc[held, "title"].map(clean))
    assert titles.isdisjoint(read[0]["title"].map(clean))


# --- refused
# -----------------------------------------------------------------------------------------------------


def complaint(kind: type[CompError], shelf: Shelf, recipe: PretrainingRecipe, folder: Path) -> str:
    """The sentence with which a pre-training is refused before it leaves anything."""
    with pytest.raises(CompError) as caught:
        run(shelf, recipe, folder)
    assert type(caught.value) is kind
    assert not (folder / "encoder").exists()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_text_longer_than_the_encoder_reads_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    sentence = complaint(InputError, shelf, pretraining(max_length=65), tmp_path)
    assert "'p' has max_length = 65" in sentence
    assert "'small' reads at most 64 tokens" in sentence


def test_a_pre_training_without_a_finite_loss_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    sentence = complaint(Diverged, shelf, pretraining(learning_rate=1e30, warmup=0.0), tmp_path)
    assert "p has diverged: the loss of step" in sentence
    assert "lower learning_rate" in sentence


def test_names_go_on_from_an_earlier_pre_training(done: Path, shelf: Shelf, tmp_path: Path) -> None:
    """At a learning rate that moves nothing they are those of the earlier one, which random ones would not be."""
    second = replace(shelf, sources=replace(shelf.sources, encoder=done, names=done))
    folder = run(second, pretraining(learning_rate=1e-12, epochs=1), tmp_path)
    for name, table in load_names(done).items():
        torch.testing.assert_close(load_names(folder)[name], table, rtol=0, atol=1e-6)


def test_a_tokenizer_without_a_mask_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    make_small(tmp_path / "maskless", shelf.described)
    config = tmp_path / "maskless" / "tokenizer_config.json"
    content = json.loads(config.read_text())
    del content["mask_token"]
    config.write_text(json.dumps(content))
    other = replace(shelf, sources=replace(shelf.sources, encoder=tmp_path / "maskless"))
    assert "'maskless' has no mask token" in complaint(CompError, other, pretraining(), tmp_path)


def test_a_catalogue_without_a_title_to_hold_out_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    few = replace(shelf, products=shelf.products[~held_out_mask(shelf.products["title"])].head(3))
    assert "too small to hold out titles" in complaint(InputError, few, pretraining(), tmp_path)


# --- processes
# ---------------------------------------------------------------------------------------------------


def test_two_processes_learn_what_one_learns(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.sources.vocabulary is not None
    folders = (shelf.sources.encoder, shelf.sources.vocabulary)
    with progress("one", 1) as work:
        one = train(*folders, tmp_path / "log.jsonl", work)
    ended = forked(main, *folders, tmp_path / "two.safetensors", processes=2)
    assert ended.codes == [0, 0], ended.stderr
    two = load_file(tmp_path / "two.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            two[name], tensor, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
