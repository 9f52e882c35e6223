"""The built-in catalogue: labels that are right by construction, then label noise at a known rate.

A query asks for a category with at least one constraint (brand, color, attribute). For it there are
exact products (the category, every constraint met), substitutes (the category, a constraint
broken), complements (the category's accessory) and irrelevant ones (another category). Labels are
drawn with ESCI's shares.

With synonyms, words alone do not decide: a category, an attribute and a measure have another name
each, a brand has a product line that it may go by, and query and product choose theirs on their
own.
"""

import tomllib
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.scoring.definition import ESCI, load_contest

CONTEST = load_contest(ESCI)  # whose rows these are like
LABELS = CONTEST.labels.names
LOCALES = CONTEST.locale_names

LABEL_SHARES = np.array([0.627, 0.232, 0.031, 0.107])  # in the order of LABELS; normalised below
LOCALE_SHARES = np.array([0.70, 0.15, 0.15])
TEST_SHARE = 0.2
TASK1_SHARE = 0.6
DEPTH = 8  # products per query on average; half of it more or less, uniform
# About the shares of real ESCI.
MISSING = {"brand": 0.04, "color": 0.26, "bullets": 0.08, "description": 0.5}
TITLE_SAYS = (0.8, 0.6)  # how often a title names the attribute and the color; other fields may

# Class-dependent noise: how often each label is wrong, in relation to the others, and what is then
# said instead; both in the order of LABELS. People take neighbours for one another, and scarce
# labels are wrong more often.
SLIP_RATES = np.array([0.7, 1.5, 1.8, 1.3])
CONFUSION = np.array(
    [[0.0, 0.75, 0.05, 0.2], [0.8, 0.0, 0.05, 0.15], [0.1, 0.4, 0.0, 0.5], [0.3, 0.5, 0.2, 0.0]]
)

_CONSTRAINTS = ("brand", "color", "attribute")
_BRAND_PARTS = (
    (
        "Al", "Bel", "Cor", "Dan", "El", "Fen", "Gor", "Hal", "Ily", "Jun", "Kel", "Lum", "Mar", "Nor", "Or", "Pel",
    ),
    ("ba", "co", "di", "fo", "ga", "li", "mo", "na", "ro", "sa", "ta", "ve", "xi", "zu"),
    ("dex", "line", "max", "nix", "ra", "son", "tek", "tis", "via", "wood"),
)  # fmt: skip

Names = tuple[str, str]  # two for the same thing
Words = dict[str, Any]  # the lists of `words.toml`, see `_read_words`


def make(
    queries: int,
    noise: float,
    seed: int,
    by_label: bool = False,
    depth: int = DEPTH,
    synonyms: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make the built-in catalogue, a pure function of its arguments.

    Args:
        queries: how many queries.
        noise: the share 0..0.5 of training rows whose label is replaced by another one.
        seed: of everything that is drawn.
        by_label: whether the share and the other label depend on the label (SLIP_RATES,
            CONFUSION); else both are uniform.
        depth: how many judged products a query has on average.
        synonyms: whether things have more than one name.

    Returns:
        examples and products with the columns of `store`, and the planted truth: example_id, label
        of the rows changed.
    """
    rng = np.random.default_rng(seed)
    # Of its own, so that synonyms change nothing else.
    name_rng = np.random.default_rng([seed, 1])
    words = _read_words(synonyms)
    brands = _draw_brands(min(max(40, queries // 20), 2000), synonyms, rng, name_rng)

    # Queries, each in one split and perhaps in task 1.
    drawn = _draw_queries(queries, words, brands, rng, name_rng)
    drawn["query_id"] = np.arange(queries)
    in_test = rng.permutation(queries) < round(TEST_SHARE * queries)
    drawn["split"] = np.where(in_test, "test", "train")
    drawn["task1"] = rng.random(queries) < TASK1_SHARE

    # Rows: a number of labels for each query, and a product of the kind that each label asks for.
    fewest, most = depth - depth // 2, depth + depth // 2
    depths = rng.integers(fewest, most + 1, queries)
    rows = drawn.loc[drawn.index.repeat(depths)].reset_index(drop=True)
    rows["label"] = rng.choice(LABELS, len(rows), p=LABEL_SHARES / LABEL_SHARES.sum())
    products = _draw_products(rows, words, brands, rng, name_rng)
    rows["product_id"] = products["product_id"]
    rows["example_id"] = np.arange(len(rows))
    rows["task2"] = rows["task3"] = True

    labels, changed = _draw_noise(rows, noise, by_label, rng)
    planted = rows.loc[changed, ["example_id", "label"]].reset_index(drop=True)
    rows["label"] = labels
    rows["substitute"] = (rows["label"] == "substitute").astype("boolean")
    return rows[list(CONTEST.example_columns)], products, planted


def _read_words(synonyms: bool) -> Words:
    """Return the lists of `words.toml` with two names for each attribute and category.

    Without synonyms, these are the same name twice, and there are no measures.
    """
    text = files("competition.data").joinpath("words.toml").read_text(encoding="utf-8")
    words: Words = tomllib.loads(text)
    for locale in LOCALES:
        names = words["attributes"][locale]
        others = words["other_attributes"][locale] if synonyms else names
        if synonyms:
            names = names + words["measures"][locale]
            others = others + words["other_measures"][locale]
        words["attributes"][locale] = list(zip(names, others, strict=True))

        for category in words["categories"]:
            name, accessory, other = category[locale]
            category[locale] = ((name, other if synonyms else name), (accessory, accessory))
    return words


def _draw_brands(
    count: int, synonyms: bool, rng: np.random.Generator, name_rng: np.random.Generator
) -> list[Names]:
    """Return brands, each with its product line: without synonyms the brand itself."""
    parts = list(product(*_BRAND_PARTS))
    brands = ["".join(parts[i]) for i in rng.permutation(len(parts))[:count]]

    # The parts in another order are no brand's name, and those of any brand give nothing of this
    # one away.
    lines = ["".join(reversed(three)).capitalize() for three in parts]
    order = name_rng.permutation(len(lines))[:count]
    return [
        (brand, lines[line] if synonyms else brand)
        for brand, line in zip(brands, order, strict=True)
    ]


def _sizes(words: Words, brands: list[Names]) -> dict[str, int]:
    """Return how many values each constraint has."""
    return {
        "brand": len(brands),
        "color": len(words["colors"]["us"]),
        "attribute": len(words["attributes"]["us"]),
    }


def _draw_queries(
    count: int,
    words: Words,
    brands: list[Names],
    rng: np.random.Generator,
    name_rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw `count` queries with distinct texts.

    `name_rng` chooses among names for the same thing.

    Returns:
        brand, color, attribute (-1 where a query asks for none), locale, category, query.
    """
    sizes = _sizes(words, brands)
    queries = pd.DataFrame()
    while len(queries) < count:
        n = 2 * count
        # Each constraint on its own, and one at least.
        is_asked = rng.random((n, 3)) < (0.4, 0.5, 0.5)
        is_asked[np.arange(n), rng.integers(0, 3, n)] = True
        draw = pd.DataFrame(
            {
                name: np.where(is_asked[:, i], rng.integers(0, sizes[name], n), -1)
                for i, name in enumerate(_CONSTRAINTS)
            }
        )
        draw["locale"] = rng.choice(LOCALES, n, p=LOCALE_SHARES)
        draw["category"] = rng.integers(0, len(words["categories"]), n)

        # Which name of brand, category and attribute.
        synonym = name_rng.integers(0, 2, (n, 3))
        draw["query"] = [
            _query_text(row, names, words, brands)
            for row, names in zip(draw.itertuples(index=False), synonym, strict=True)
        ]
        queries = pd.concat([queries, draw], ignore_index=True)
        queries = queries.drop_duplicates("query", ignore_index=True)
    return queries.head(count)


def _query_text(row: Any, names: NDArray[np.int64], words: Words, brands: list[Names]) -> str:
    """Return the text of a query: brand, color, category and attribute, as far as it asks for them."""
    brand_name, category_name, attribute_name = names
    parts = [
        brands[row.brand][brand_name].lower() if row.brand >= 0 else "",
        words["colors"][row.locale][row.color] if row.color >= 0 else "",
        words["categories"][row.category][row.locale][0][category_name],
        words["attributes"][row.locale][row.attribute][attribute_name]
        if row.attribute >= 0
        else "",
    ]
    return " ".join(part for part in parts if part)


def _draw_products(
    rows: pd.DataFrame,
    words: Words,
    brands: list[Names],
    rng: np.random.Generator,
    name_rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw one product for each row (a query's constraints with a label), of the kind that the label asks for.

    `name_rng` chooses among names for the same thing, the same for all fields of a product.
    """
    n = len(rows)
    label = rows["label"].to_numpy()
    sizes = _sizes(words, brands)
    values = _draw_values(rows, sizes, rng)

    # Irrelevant products are of another category, complements are a category's accessory.
    categories = len(words["categories"])
    shift = np.where(label == "irrelevant", rng.integers(1, categories, n), 0)
    category = (rows["category"].to_numpy() + shift) % categories
    accessory = (label == "complement").astype(int)
    model = rng.integers(100, 1000, n)

    # A second attribute. Never the one that was asked for: a substitute would meet its constraint
    # after all.
    attributes = sizes["attribute"]
    second = (values["attribute"] + rng.integers(1, attributes, n)) % attributes
    second = np.where(second == rows["attribute"], (second + 1) % attributes, second)
    second = np.where(second == values["attribute"], (second + 1) % attributes, second)

    sentences = rng.integers(0, 5, (n, 2))
    says = rng.random((n, 2)) < TITLE_SAYS
    # Which name of brand, category and attributes.
    synonym = name_rng.integers(0, 2, (n, 4))

    columns: dict[str, list[str]] = {field: [] for field in CONTEST.fields}
    for i, locale in enumerate(rows["locale"]):
        of_brand, of_category, of_first, of_second = synonym[i]
        names = brands[values["brand"][i]]
        color = words["colors"][locale][values["color"][i]]
        category_name = words["categories"][category[i]][locale][accessory[i]][of_category]
        first_attribute = words["attributes"][locale][values["attribute"][i]][of_first]
        second_attribute = words["attributes"][locale][second[i]][of_second]
        bullet_sentence, last_sentence = (words["sentences"][locale][k] for k in sentences[i])

        title = (
            names[of_brand],
            category_name,
            first_attribute if says[i, 0] else "",
            color if says[i, 1] else "",
            f"{names[0][:2]}{model[i]}",
        )
        columns["title"].append(" ".join(part for part in title if part))
        columns["brand"].append(names[0])
        columns["color"].append(color)
        columns["bullets"].append(f"{first_attribute}, {second_attribute}. {bullet_sentence}")
        columns["description"].append(f"<p>{category_name}: {first_attribute}. {last_sentence}</p>")

    products = pd.DataFrame({"locale": rows["locale"].to_numpy(), **columns})
    products["product_id"] = [f"B{i:09d}" for i in rng.permutation(n)]
    for field, share in MISSING.items():
        products[field] = products[field].mask(rng.random(n) < share, "")
    return products


def _draw_values(
    rows: pd.DataFrame, sizes: dict[str, int], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Draw each product's brand, color and attribute: what the query asks for, unless the label says otherwise."""
    n = len(rows)
    label = rows["label"].to_numpy()
    asked = {name: rows[name].to_numpy() for name in _CONSTRAINTS}

    # A substitute breaks the constraint that comes first in a random order of those the query has.
    is_asked = np.stack([asked[name] >= 0 for name in _CONSTRAINTS], 1)  # (rows, constraints)
    broken = np.where(is_asked, rng.random((n, 3)), -1.0).argmax(1)

    values = {}
    for i, name in enumerate(_CONSTRAINTS):
        free = rng.integers(0, sizes[name], n)
        other = (asked[name] + rng.integers(1, sizes[name], n)) % sizes[name]
        value = np.where(asked[name] >= 0, asked[name], free)
        value = np.where((label == "substitute") & (broken == i), other, value)
        values[name] = np.where(label == "irrelevant", free, value)
    return values


def _draw_noise(
    rows: pd.DataFrame, noise: float, by_label: bool, rng: np.random.Generator
) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the labels of rows with noise in the training rows, `(rows,)`, and which were changed."""
    codes = rows["label"].map({label: i for i, label in enumerate(LABELS)}).to_numpy()
    rates = np.ones(len(LABELS))
    # In relation to one another, with a mean of 1 over rows.
    if by_label:
        rates = SLIP_RATES / (SLIP_RATES @ LABEL_SHARES) * LABEL_SHARES.sum()

    in_training = (rows["split"] == "train").to_numpy()
    changed = in_training & (rng.random(len(rows)) < noise * rates[codes])
    if by_label:
        wrong = (rng.random((len(rows), 1)) < CONFUSION[codes].cumsum(axis=1)).argmax(axis=1)
    else:
        wrong = (codes + rng.integers(1, len(LABELS), len(rows))) % len(LABELS)
    return np.array(LABELS)[np.where(changed, wrong, codes)], changed
