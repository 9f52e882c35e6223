"""What stands beside [CLS], by hand: name embeddings and pooled 3-grams."""

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from competition.data.grams import gram_codes
from competition.data.text import simplify
from competition.data.vocabulary import MISSING, RARE, Vocabulary, load_vectors
from competition.models.encoder.embeddings import (
    NAME_DIMENSIONS,
    FeatureEmbeddings,
    load_names,
    name_table,
    save_names,
)
from competition.models.encoder.inputs import FeatureIds
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from tests.esci import KINDS, LOCALES
from tests.models.encoder.conftest import FEATURES, Shop, batch, recipe

SMALL = Vocabulary(
    {"brand": ("acme", "zeta"), "color": ("red",)}, gram_codes(["abc", "bcd", "cde"])[0]
)
WIDTHS = {"brand": 128, "color": 128, "country": 8, "char_trigrams": 3 * 64}
SUBSETS = [names for size in range(1, 5) for names in combinations(FEATURES, size)]


def extras(brand: list[int], bags: list[list[int]] | None = None) -> FeatureIds:
    """Pairs with these brands, and one bag of grams per unit and pair (none: empty ones)."""
    ids = torch.tensor(brand)
    bags = [[]] * (3 * len(brand)) if bags is None else bags
    begins = np.cumsum([0, *map(len, bags)])[:-1]
    return FeatureIds(
        {"brand": ids, "color": ids % 3, "country": ids % 3},
        torch.tensor(list(chain.from_iterable(bags)), dtype=torch.long),
        torch.from_numpy(begins),
    )


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_the_width_is_that_of_the_named_features(names: tuple[str, ...]) -> None:
    features = FeatureEmbeddings(names, SMALL, len(LOCALES))
    assert features.width == sum(WIDTHS[name] for name in names)
    assert features(extras([0, 1, 3])).shape == (3, features.width)


def test_features_stand_in_one_order_however_they_are_named() -> None:
    features = FeatureEmbeddings(("char_trigrams", "country", "brand"), SMALL, len(LOCALES))
    actual = features(extras([2, 3], [[1], [2], [], [3], [2], []]))  # countries 2 and 0
    assert features.grams is not None
    brands, countries, grams = (
        table.weight
        for table in (features.tables["brand"], features.tables["country"], features.grams)
    )
    first = torch.cat([brands[2], countries[2], grams[1], torch.zeros(64), grams[2]])
    second = torch.cat([brands[3], countries[0], grams[2], grams[3], torch.zeros(64)])
    assert torch.equal(actual, torch.stack([first, second]))


def test_units_are_the_means_of_their_grams() -> None:
    features = FeatureEmbeddings(("char_trigrams",), SMALL, len(LOCALES))
    assert features.grams is not None
    with torch.no_grad():
        features.grams.weight.copy_(torch.tensor([0.0, 10.0, 20.0, 60.0])[:, None].expand(-1, 64))
    # unit by unit: query of both pairs, product of both, description of both
    actual = features(extras([0, 0], [[1, 2], [3], [1, 1, 2, 3], [], [], [2, 3]]))
    assert actual[:, ::64].tolist() == [
        [15.0, (10 + 10 + 20 + 60) / 4, 0.0],
        [60.0, 0.0, (20 + 60) / 2],
    ]


@pytest.mark.parametrize(
    "vocabulary",
    [SMALL, Vocabulary({"brand": (), "color": ()}, np.empty(0, np.int64))],
    ids=["small", "empty"],
)
def test_nothing_known_is_zero(vocabulary: Vocabulary) -> None:
    features = FeatureEmbeddings(("brand", "color", "char_trigrams"), vocabulary, len(LOCALES))
    actual = features(extras([MISSING, MISSING]))
    assert actual.shape == (2, 128 + 128 + 192)
    assert not actual.any()


def test_missing_names_stay_zero_in_training() -> None:
    features = FeatureEmbeddings(FEATURES, SMALL, len(LOCALES))
    optimizer = torch.optim.AdamW(features.parameters(), lr=0.1, weight_decay=0.1)
    before = {name: table.weight.clone() for name, table in features.tables.items()}
    for _ in range(3):
        features(extras([MISSING, 1, 2], [[0], [1], [2]] * 3)).sum().backward()
        optimizer.step()
    for name in ("brand", "color"):
        after = features.tables[name].weight
        assert not after[MISSING].any()
        assert bool((after[1:] != before[name][1:]).all())
    assert features.grams is not None
    assert not features.grams.weight[0].any()


# --- word2vec ---


def table(model: RelevanceModel) -> Tensor:
    """The 3-gram table of a model."""
    assert model.features is not None
    assert model.features.grams is not None
    return model.features.grams.weight


def test_the_vectors_are_in_the_table_of_the_model(sources: Sources) -> None:
    assert sources.vectors is not None
    vectors, kind = torch.from_numpy(load_vectors(sources.vectors)), KINDS["classes"]
    for start in ("word2vec", "frozen"):
        assert torch.equal(
            table(RelevanceModel.make(recipe(char_trigrams_init=start), kind, sources, seed=3)),
            vectors,
        )
    random = table(RelevanceModel.make(recipe(), kind, replace(sources, vectors=None), seed=3))
    assert random.shape == vectors.shape
    assert random[1:].std().item() == pytest.approx(0.02, rel=0.05)
    assert not random[0].any()


@pytest.mark.parametrize(
    ("start", "moves"), [("random", True), ("word2vec", True), ("frozen", False)]
)
def test_only_frozen_vectors_stay_in_training(start: str, moves: bool, shop: Shop) -> None:
    method = recipe(char_trigrams_init=start)
    sources = shop.sources if start != "random" else replace(shop.sources, vectors=None)
    model = RelevanceModel.make(method, KINDS[method.kind], sources, seed=3)
    before = table(model).clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(batch(shop.pairs(method), range(8))).square().sum().backward()
    optimizer.step()
    assert (table(model).grad is not None) == moves
    assert bool((table(model) != before).any()) == moves


# --- pre-trained names ---


def learned(vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Tables of brands and colors as pre-training would leave them: the row of missing names is zero."""
    tables = {
        "brand": name_table(len(vocabulary.names["brand"])),
        "color": name_table(len(vocabulary.names["color"])),
    }
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for table_ in tables.values():
            table_.weight[RARE:] = torch.randn(table_.weight[RARE:].shape, generator=generator)
    return {name: table_.weight for name, table_ in tables.items()}


def test_names_come_back_as_they_were_saved(tmp_path: Path) -> None:
    tables = learned(SMALL)
    (tmp_path / "names").mkdir()
    save_names(tmp_path / "names", tables)
    actual = load_names(tmp_path / "names")
    assert actual.keys() == tables.keys()
    assert actual["brand"].shape == (RARE + 1 + 2, NAME_DIMENSIONS)
    assert actual["color"].shape == (
        RARE + 1 + 1,
        128,
    )
    assert all(
        torch.equal(actual[name], tables[name]) and not actual[name].requires_grad
        for name in tables
    )
    (tmp_path / "none").mkdir()
    save_names(tmp_path / "none", {})
    assert list((tmp_path / "none").iterdir()) == []


def test_names_start_as_learned_and_go_on_learning_on_their_own() -> None:
    tables, features = learned(SMALL), FeatureEmbeddings(("brand", "country"), SMALL, len(LOCALES))
    before = {name: tensor.clone() for name, tensor in features.state_dict().items()}
    held = {name: tensor.detach().clone() for name, tensor in tables.items()}
    features.init_names(tables)  # there is no table of colors here
    assert torch.equal(features.tables["brand"].weight, held["brand"])
    assert torch.equal(features.tables["country"].weight, before["tables.country.weight"])
    optimizer = torch.optim.SGD(features.parameters(), lr=1.0)
    features(extras([MISSING, 3])).sum().backward()
    optimizer.step()
    assert torch.equal(
        features.tables["brand"].weight[3], held["brand"][3] - 1.0
    )  # the gradient of a sum is 1
    assert not features.tables["brand"].weight[MISSING].any()
    assert torch.equal(tables["brand"], held["brand"])


@pytest.mark.parametrize("names", [FEATURES, ("brand", "country"), ("color",)], ids="+".join)
def test_a_model_starts_from_the_names_beside_its_encoder(
    names: tuple[str, ...], sources: Sources, tmp_path: Path
) -> None:
    assert sources.vocabulary is not None
    tables, named = learned(Vocabulary.load(sources.vocabulary)), recipe(features=names)
    save_names(tmp_path, tables)
    plain = RelevanceModel.make(
        named, KINDS[named.kind], replace(sources, vectors=None), seed=3
    ).state_dict()
    started = RelevanceModel.make(
        named, KINDS[named.kind], replace(sources, vectors=None, names=tmp_path), seed=3
    ).state_dict()
    changed = {f"features.tables.{name}.weight" for name in tables if name in names}
    assert changed
    assert {name for name in plain if not torch.equal(plain[name], started[name])} == changed
    assert all(torch.equal(started[name], tables[name.split(".")[2]]) for name in changed)


# --- batches ---


def test_each_row_gets_its_own_features(shop: Shop) -> None:
    method = recipe()
    pairs, features = (
        shop.pairs(method),
        FeatureEmbeddings(FEATURES, shop.vocabulary, len(LOCALES)).eval(),
    )
    whole = features(batch(pairs, range(20)).extras)
    alone = torch.cat([features(batch(pairs, [row]).extras) for row in range(20)])
    torch.testing.assert_close(whole, alone)
    shuffled = np.random.default_rng(0).permutation(20).tolist()
    torch.testing.assert_close(features(batch(pairs, shuffled).extras), whole[shuffled])
    assert len(torch.unique(whole.detach(), dim=0)) == 20


def test_features_are_those_of_the_texts(shop: Shop) -> None:
    vocabulary, features = (
        shop.vocabulary,
        FeatureEmbeddings(FEATURES, shop.vocabulary, len(LOCALES)),
    )
    actual = features(batch(shop.pairs(recipe()), range(20)).extras)
    rows = (
        shop.examples.merge(shop.products, on=["locale", "product_id"], how="left")
        .fillna("")
        .to_dict("records")
    )
    assert features.grams is not None
    for i, row in enumerate(rows):
        unit = simplify(" ".join(row[field] for field in ("title", "brand", "color", "bullets")))
        parts = [features.tables[name].weight[ids[0]] for name, ids in (
            ("brand", vocabulary.name_ids("brand", [row["brand"]])),
            ("color", vocabulary.name_ids("color", [row["color"]])),
            ("country", [LOCALES.index(row["locale"])]),
        )]  # fmt: skip
        for text in (simplify(row["query"]), unit, simplify(row["description"])):
            known = torch.from_numpy(vocabulary.gram_ids([text])[0].astype(np.int64))
            parts.append(features.grams.weight[known].mean(0) if len(known) else torch.zeros(64))
        torch.testing.assert_close(actual[i], torch.cat(parts))
    lost = actual[list(Shop.LOST)]
    assert not lost[:, : 128 + 128].any()
    assert not lost[:, -2 * 64 :].any()
    assert lost[:, 128 + 128 + 8 : -2 * 64].any(1).all()  # the query is there


def test_views_are_stacked_one_after_the_other(shop: Shop) -> None:
    for architecture in ("cross-encoder", "mixture-of-experts", "two-tower", "bi-encoder"):
        pairs, rows = shop.pairs(recipe(architecture=architecture)), [3, 1, 4]
        given = batch(pairs, rows)
        for v, view in enumerate(pairs.views):
            for i, row in enumerate(rows):
                ids, first_side = pairs.ids(row, view)
                line = 3 * v + i
                assert given.ids[line, : len(ids)].tolist() == ids.tolist()
                assert given.ids[line, len(ids) :].eq(pairs.special.padding).all()
                assert given.mask[line].nonzero().flatten().tolist() == list(range(len(ids)))
                assert given.types[line].nonzero().flatten().tolist() == list(
                    range(first_side, len(ids))
                )
                assert given.present[i, v].item() == pairs.has_text(row, view)
        assert len(given.ids) == 3 * len(pairs.views)
