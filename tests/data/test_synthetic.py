"""The built-in catalogue: reproducible, ESCI's shares, labels that the text bears out, noise exactly where planted."""

import tomllib
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from competition.data import store, synthetic
from competition.data.border import PRODUCT_KEY, check_examples, check_products
from competition.data.folds import normalise
from competition.data.text import clean
from tests.esci import CONTEST, FIELDS, LABELS

WORDS = tomllib.loads(files("competition.data").joinpath("words.toml").read_text(encoding="utf-8"))
Made = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def noisy() -> Made:
    """Examples, products and planted truth of 1,500 queries with one training label in ten made wrong."""
    return synthetic.make(1_500, noise=0.1, seed=11)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Rows with right labels, what their query asks for (empty: nothing) and all text of their product."""
    examples, products, _ = synthetic.make(1_500, noise=0.0, seed=11)
    rows = examples.merge(products, on=PRODUCT_KEY)
    in_query = [
        wishes(query, locale) for query, locale in zip(rows["query"], rows["locale"], strict=True)
    ]
    text = [clean(" ".join(texts)).lower() for texts in rows[list(FIELDS)].itertuples(index=False)]
    return pd.concat([rows, pd.DataFrame(in_query)], axis=1).assign(text=text)


def wishes(query: str, locale: str) -> dict[str, str]:
    """A query taken apart: [brand] [color] category [attribute]."""
    names = (category[locale][0] for category in WORDS["categories"])
    category = max((name for name in names if name in query), key=len)
    before, after = (part.strip() for part in query.split(category))
    color = next((color for color in WORDS["colors"][locale] if before.endswith(color)), "")
    brand = before.removesuffix(color).strip()
    return {
        "asked_brand": brand,
        "asked_color": color,
        "asked_category": category,
        "asked_attribute": after,
    }


def test_same_arguments_same_tables() -> None:
    for one, other in zip(synthetic.make(80, 0.1, 3), synthetic.make(80, 0.1, 3), strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("other", [(80, 0.1, 4), (81, 0.1, 3)])
def test_other_arguments_other_tables(other: tuple[int, float, int]) -> None:
    one, two = synthetic.make(80, 0.1, 3), synthetic.make(*other)
    assert one[0]["query"].tolist() != two[0]["query"].tolist()
    assert one[1]["title"].tolist() != two[1]["title"].tolist()


def test_noise_changes_labels_and_nothing_else() -> None:
    (clear, products, none), (noisy, same_products, planted) = (
        synthetic.make(80, noise, 3) for noise in (0.0, 0.2)
    )
    assert none.empty
    assert not planted.empty
    pd.testing.assert_frame_equal(products, same_products)
    rest = [column for column in clear if column not in ("label", "substitute")]
    pd.testing.assert_frame_equal(clear[rest], noisy[rest])
    differs = clear["label"] != noisy["label"]
    assert noisy.loc[differs, "example_id"].tolist() == planted["example_id"].tolist()
    assert clear.loc[differs, "label"].tolist() == planted["label"].tolist()


def test_planted_rows_are_training_rows_with_another_label(noisy: Made) -> None:
    examples, _, planted = noisy
    rows = examples.merge(planted, on="example_id", suffixes=("", "_true"))
    assert len(rows) == len(planted)
    assert (rows["label"] != rows["label_true"]).all()
    assert set(rows["split"]) == {"train"}
    assert ((examples["label"] == "substitute") == examples["substitute"]).all()
    train = int((examples["split"] == "train").sum())
    spread = np.sqrt(0.1 * 0.9 / train)  # the standard error of a share of 0.1
    assert len(planted) / train == pytest.approx(0.1, abs=4 * spread)


def test_noise_by_label_confuses_neighbours_at_the_same_rate() -> None:
    examples, products, planted = synthetic.make(1_500, 0.1, 11, by_label=True)
    clear, same, _ = synthetic.make(1_500, 0.0, 11)
    pd.testing.assert_frame_equal(products, same)
    rows = examples.merge(planted, on="example_id", suffixes=("", "_true"))
    assert (rows["label"] != rows["label_true"]).all()
    assert set(rows["split"]) == {"train"}
    train = clear[clear["split"] == "train"]
    assert len(rows) / len(train) == pytest.approx(0.1, abs=0.012)
    counts = train["label"].value_counts()
    share = rows["label_true"].value_counts() / counts
    for label, slip in zip(LABELS, synthetic.SLIP_RATES, strict=True):
        rate = (
            0.1
            * slip
            / (synthetic.SLIP_RATES @ synthetic.LABEL_SHARES / synthetic.LABEL_SHARES.sum())
        )
        assert share[label] == pytest.approx(
            rate, abs=4 * np.sqrt(rate * (1 - rate) / counts[label])
        )
    shares = pd.crosstab(rows["label_true"], rows["label"], normalize="index").loc[
        list(LABELS), list(LABELS)
    ]
    np.testing.assert_allclose(shares, synthetic.CONFUSION, atol=0.2)
    np.testing.assert_allclose(synthetic.CONFUSION.sum(axis=1), 1)


def test_label_shares_are_those_of_esci(pairs: pd.DataFrame) -> None:
    shares = pairs["label"].value_counts(normalize=True)
    esci = {"exact": 0.63, "substitute": 0.23, "complement": 0.03, "irrelevant": 0.11}
    assert {label: shares[label] for label in LABELS} == pytest.approx(esci, abs=0.02)


def test_no_query_is_there_twice(noisy: Made) -> None:
    texts = noisy[0].drop_duplicates("query_id")["query"].map(normalise)
    assert len(texts) == 1_500
    assert texts.is_unique


def test_it_is_good_data(noisy: Made) -> None:
    examples, products, _ = noisy
    check_examples(examples, CONTEST, "synth")
    check_products(products, CONTEST, "synth")
    assert (store.product_rows(examples, products) >= 0).all()
    per_query = examples.groupby("query_id").size()
    assert per_query.min() == 4
    assert per_query.max() == 12
    assert examples.groupby("query_id")["split"].nunique().max() == 1


def contains(pairs: pd.DataFrame, column: str, in_query: str) -> pd.Series:
    """Whether the text in `column` names what is asked, in any case; True where nothing is asked."""
    columns = zip(pairs[column].str.lower(), pairs[in_query].str.lower(), strict=True)
    return pd.Series([wish in text for text, wish in columns], pairs.index)


def test_exact_products_meet_every_constraint(pairs: pd.DataFrame) -> None:
    exact = pairs[pairs["label"] == "exact"]
    assert contains(exact, "title", "asked_category").all()
    assert contains(exact, "title", "asked_brand").all()
    # A catalogue is incomplete, as real ones are: what is said is what was asked, though not
    # everything is said.
    colored = exact[(exact["asked_color"] != "") & (exact["color"] != "")]
    assert (colored["color"] == colored["asked_color"]).all()
    bulleted = exact[(exact["asked_attribute"] != "") & (exact["bullets"] != "")]
    assert contains(bulleted, "bullets", "asked_attribute").all()
    for wish in ("asked_color", "asked_attribute"):
        in_query = exact[exact[wish] != ""]
        assert contains(in_query, "text", wish).mean() > 0.85


def test_substitutes_are_of_the_category_and_break_a_constraint(pairs: pd.DataFrame) -> None:
    substitutes = pairs[pairs["label"] == "substitute"]
    assert contains(substitutes, "title", "asked_category").all()
    broken = pd.Series(False, substitutes.index)
    for wish in ("asked_brand", "asked_color", "asked_attribute"):
        broken |= ~contains(substitutes, "text", wish)
    assert broken.all()


def test_complements_and_irrelevant_products_are_something_else(pairs: pd.DataFrame) -> None:
    accessory = {
        category[locale][0]: category[locale][1]
        for category in WORDS["categories"]
        for locale in category
    }
    complements = pairs[pairs["label"] == "complement"]
    named = zip(complements["title"], complements["asked_category"].map(accessory), strict=True)
    assert all(name in title for title, name in named)
    irrelevant = pairs[pairs["label"] == "irrelevant"]
    assert not contains(irrelevant, "title", "asked_category").any()


# --- synonyms ---


def named(texts: pd.Series, locales: pd.Series, kind: str) -> list[set[tuple[int, int]]]:
    """Of each text the things of a kind that it names: which, and by which of its two names."""
    names = []
    for text, locale in zip(texts.str.lower(), locales, strict=True):
        if kind == "category":
            pairs = [(category[locale][0], category[locale][2]) for category in WORDS["categories"]]
        else:
            of_locale = [
                WORDS[name][locale]
                for name in ("attributes", "measures", "other_attributes", "other_measures")
            ]
            pairs = list(zip(of_locale[0] + of_locale[1], of_locale[2] + of_locale[3], strict=True))
        names.append(
            {(i, by) for i, pair in enumerate(pairs) for by in (0, 1) if pair[by].lower() in text}
        )
    return names


@pytest.fixture(scope="module")
def synonymous() -> pd.DataFrame:
    """Rows with right labels of a catalogue in which things have two names, and all text of their product."""
    examples, products, _ = synthetic.make(600, noise=0.0, seed=11, synonyms=True)
    rows = examples.merge(products, on=PRODUCT_KEY)
    return rows.assign(
        text=[clean(" ".join(t)) for t in rows[list(FIELDS)].itertuples(index=False)]
    )


def test_every_name_has_another_one() -> None:
    for locale in ("us", "es", "jp"):
        categories = [
            (category[locale][0], category[locale][2]) for category in WORDS["categories"]
        ]
        for name in ("attributes", "measures"):
            pairs = list(zip(WORDS[name][locale], WORDS[f"other_{name}"][locale], strict=True))
            assert all(one != other for one, other in pairs)
        assert len({*sum(categories, ())}) == 2 * len(categories)


def test_without_synonyms_the_catalogue_is_what_it_was(noisy: Made) -> None:
    examples, products, _ = noisy
    texts = pd.concat([examples["query"], products["title"], products["bullets"]]).str.lower()
    others = [category["us"][2] for category in WORDS["categories"]] + [
        "watertight",
        "set of two",
        "half a liter",
    ]
    assert not any(texts.str.contains(other, regex=False).any() for other in others)


def test_labels_follow_the_thing_and_not_its_name(synonymous: pd.DataFrame) -> None:
    rows = synonymous
    in_query, in_product = (
        named(rows[column], rows["locale"], "category") for column in ("query", "title")
    )
    things = [
        ({i for i, _ in one}, {i for i, _ in two})
        for one, two in zip(in_query, in_product, strict=True)
    ]
    same = pd.Series([bool(one & two) for one, two in things])
    of_label = same.groupby(rows["label"]).mean()
    assert of_label["exact"] == of_label["substitute"] == 1.0
    assert of_label["irrelevant"] < 0.05  # a name may stand within another
    exact = (rows["label"] == "exact").to_numpy()
    spelled = pd.Series([bool(one & two) for one, two in zip(in_query, in_product, strict=True)])[
        exact
    ]
    assert spelled.mean() == pytest.approx(
        0.5, abs=4 * np.sqrt(0.25 / exact.sum())
    )  # each chooses on its own


def test_attributes_and_measures_are_met_in_either_name(synonymous: pd.DataFrame) -> None:
    exact = synonymous[(synonymous["label"] == "exact") & (synonymous["bullets"] != "")]
    in_query, in_product = (
        named(exact[column], exact["locale"], "attribute") for column in ("query", "bullets")
    )
    things = [
        ({i for i, _ in one}, {i for i, _ in two})
        for one, two in zip(in_query, in_product, strict=True)
        if one
    ]
    assert np.mean([one <= two for one, two in things]) == 1.0
    words = [one <= two for one, two in zip(in_query, in_product, strict=True) if one]
    assert 0.4 < np.mean(words) < 0.6


def test_a_brand_goes_by_its_line_too(synonymous: pd.DataFrame) -> None:
    first = synonymous["title"].str.split(" ").str[0]
    branded = synonymous["brand"] != ""
    by_line = first[branded & (first != synonymous["brand"])]
    assert len(by_line) / branded.sum() == pytest.approx(0.5, abs=0.05)
    lines = by_line.groupby(synonymous["brand"]).nunique()
    assert (lines == 1).all()
    assert not set(by_line) & set(synonymous["brand"])
