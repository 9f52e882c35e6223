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

import numpy as np
import pandas as pd

from competition.data.store import EXAMPLE_COLUMNS
from competition.data.text import FIELDS
from competition.scoring.tasks import LABELS, LOCALES

LABEL_SHARES = np.array(
    [0.627, 0.232, 0.031, 0.107]
)  # in the order of LABELS; rounded, hence normalised
LOCALE_SHARES = np.array([0.70, 0.15, 0.15])
TEST_SHARE = 0.2
TASK1_SHARE = 0.6
DEPTH = 8  # products per query on average; half of it more or less, uniform
MISSING = {
    "brand": 0.04,
    "color": 0.26,
    "bullets": 0.08,
    "description": 0.5,
}  # about the shares of real ESCI
TITLE_SAYS = (0.8, 0.6)  # how often a title names the attribute and the color; other fields may
# Class-dependent noise: how often each label is wrong, in relation to the others, and what is then
# said instead; both in the order of LABELS. People take neighbours for one another, and scarce
# labels are wrong more
# often.
SLIP_RATES = np.array([0.7, 1.5, 1.8, 1.3])
CONFUSION = np.array(
    [[0.0, 0.75, 0.05, 0.2], [0.8, 0.0, 0.05, 0.15], [0.1, 0.4, 0.0, 0.5], [0.3, 0.5, 0.2, 0.0]]
)
_CONSTRAINTS = ("brand", "color", "attribute")
_BRAND_PARTS = (
    (
        "Al",
        "Bel",
        "Cor",
        "Dan",
        "El",
        "Fen",
        "Gor",
        "Hal",
        "Ily",
        "Jun",
        "Kel",
        "Lum",
        "Mar",
        "Nor",
        "Or",
        "Pel",
    ),
    ("ba", "co", "di", "fo", "ga", "li", "mo", "na", "ro", "sa", "ta", "ve", "xi", "zu"),
    ("dex", "line", "max", "nix", "ra", "son", "tek", "tis", "via", "wood"),
)


Names = tuple[str, str]  # two for the same thing


def _words(synonyms: bool) -> dict:
    """Return the lists of `words.toml` with two names for each attribute and category: without synonyms the same one
    twice, and no measures."""
    words = tomllib.loads(
        files("competition.data").joinpath("words.toml").read_text(encoding="utf-8")
    )
    for locale in LOCALES:
        names, others = words["attributes"][locale], words["other_attributes"][locale]
        if synonyms:
            names, others = (
                names + words["measures"][locale],
                others + words["other_measures"][locale],
            )
        words["attributes"][locale] = list(zip(names, others if synonyms else names, strict=True))
        for category in words["categories"]:
            name, accessory, other = category[locale]
            category[locale] = ((name, other if synonyms else name), (accessory, accessory))
    return words


def _brands(
    count: int, synonyms: bool, rng: np.random.Generator, choice: np.random.Generator
) -> list[Names]:
    """Return brands, each with its product line: without synonyms the brand itself."""
    every = [a + b + c for a in _BRAND_PARTS[0] for b in _BRAND_PARTS[1] for c in _BRAND_PARTS[2]]
    brands = [every[i] for i in rng.permutation(len(every))[:count]]
    # The parts in another order are no brand's name, and those of any brand give nothing of this
    # one away.
    lines = [
        (c + b + a).capitalize()
        for a in _BRAND_PARTS[0]
        for b in _BRAND_PARTS[1]
        for c in _BRAND_PARTS[2]
    ]
    order = choice.permutation(len(lines))
    return [
        (brand, lines[line] if synonyms else brand)
        for brand, line in zip(brands, order, strict=False)
    ]


def _draw_queries(
    count: int,
    words: dict,
    brands: list[Names],
    rng: np.random.Generator,
    choice: np.random.Generator,
) -> pd.DataFrame:
    """`count` queries with distinct texts: the constraints (-1 where it asks for none), locale, category, text.

    `choice` chooses among names for the same thing.
    """
    found = pd.DataFrame()
    while len(found) < count:
        n = 2 * count
        sizes = {
            "brand": len(brands),
            "color": len(words["colors"]["us"]),
            "attribute": len(words["attributes"]["us"]),
        }
        asked = rng.random((n, 3)) < (0.4, 0.5, 0.5)
        asked[np.arange(n), rng.integers(0, 3, n)] = True
        draw = pd.DataFrame(
            {
                c: np.where(asked[:, i], rng.integers(0, sizes[c], n), -1)
                for i, c in enumerate(_CONSTRAINTS)
            }
        )
        draw["locale"] = rng.choice(LOCALES, n, p=LOCALE_SHARES)
        draw["category"] = rng.integers(0, len(words["categories"]), n)
        by = choice.integers(0, 2, (n, 3))  # which name of brand, category and attribute
        draw["query"] = [
            " ".join(
                part
                for part in (
                    brands[brand][by_brand].lower() if brand >= 0 else "",
                    words["colors"][locale][color] if color >= 0 else "",
                    words["categories"][category][locale][0][by_category],
                    words["attributes"][locale][attribute][by_attribute] if attribute >= 0 else "",
                )
                if part
            )
            for (brand, color, attribute, locale, category), (
                by_brand,
                by_category,
                by_attribute,
            ) in zip(draw.itertuples(index=False), by, strict=True)
        ]
        found = pd.concat([found, draw], ignore_index=True).drop_duplicates(
            "query", ignore_index=True
        )
    return found.head(count)


def _draw_products(
    rows: pd.DataFrame,
    words: dict,
    brands: list[Names],
    rng: np.random.Generator,
    choice: np.random.Generator,
) -> pd.DataFrame:
    """One product for each row (a query's constraints with a label), of the kind that the label asks for.

    `choice` chooses among names for the same thing, the same for all fields of a product.
    """
    n = len(rows)
    label = rows["label"].to_numpy()
    sizes = {
        "brand": len(brands),
        "color": len(words["colors"]["us"]),
        "attribute": len(words["attributes"]["us"]),
    }
    asked = {c: rows[c].to_numpy() for c in _CONSTRAINTS}
    # A substitute breaks the constraint that comes first in a random order of those the query has.
    order = np.where(np.stack([asked[c] >= 0 for c in _CONSTRAINTS], 1), rng.random((n, 3)), -1.0)
    broken = order.argmax(1)
    value = {}
    for i, c in enumerate(_CONSTRAINTS):
        free = rng.integers(0, sizes[c], n)
        other = (asked[c] + rng.integers(1, sizes[c], n)) % sizes[c]
        value[c] = np.where(asked[c] >= 0, asked[c], free)
        value[c] = np.where((label == "substitute") & (broken == i), other, value[c])
        value[c] = np.where(label == "irrelevant", free, value[c])
    categories = len(words["categories"])
    shift = np.where(label == "irrelevant", rng.integers(1, categories, n), 0)
    category = (rows["category"].to_numpy() + shift) % categories
    accessory = (label == "complement").astype(int)
    model = rng.integers(100, 1000, n)
    second = (value["attribute"] + rng.integers(1, sizes["attribute"], n)) % sizes["attribute"]
    # Never the one that was asked for: a substitute would meet its constraint after all.
    second = np.where(second == asked["attribute"], (second + 1) % sizes["attribute"], second)
    second = np.where(second == value["attribute"], (second + 1) % sizes["attribute"], second)
    sentences = rng.integers(0, 5, (n, 2))
    says = rng.random((n, 2)) < TITLE_SAYS
    columns: dict[str, list[str]] = {field: [] for field in FIELDS}
    by = choice.integers(0, 2, (n, 4))  # which name of brand, category and attributes
    for i, locale in enumerate(rows["locale"]):
        brand, color = brands[value["brand"][i]][0], words["colors"][locale][value["color"][i]]
        name = words["categories"][category[i]][locale][accessory[i]][by[i, 1]]
        first_attribute = words["attributes"][locale][value["attribute"][i]][by[i, 2]]
        second_attribute = words["attributes"][locale][second[i]][by[i, 3]]
        first, last = (words["sentences"][locale][k] for k in sentences[i])
        shown = (
            brands[value["brand"][i]][by[i, 0]],
            name,
            first_attribute if says[i, 0] else "",
            color if says[i, 1] else "",
            f"{brand[:2]}{model[i]}",
        )
        columns["title"].append(" ".join(part for part in shown if part))
        columns["brand"].append(brand)
        columns["color"].append(color)
        columns["bullets"].append(f"{first_attribute}, {second_attribute}. {first}")
        columns["description"].append(f"<p>{name}: {first_attribute}. {last}</p>")
    products = pd.DataFrame({"locale": rows["locale"].to_numpy(), **columns})
    products["product_id"] = [f"B{i:09d}" for i in rng.permutation(n)]
    for field, share in MISSING.items():
        products[field] = products[field].mask(rng.random(n) < share, "")
    return products


def make(
    queries: int,
    noise: float,
    seed: int,
    by_label: bool = False,
    depth: int = DEPTH,
    synonyms: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The built-in catalogue, a pure function of its arguments.

    Args:
        queries: how many queries.
        noise: the share 0..0.5 of training rows whose label is replaced by another one.
        seed: of everything that is drawn.
        by_label: whether the share and the other label depend on the label (SLIPS, CONFUSED); else
            both are uniform.
        depth: how many judged products a query has on average.
        synonyms: whether things have more than one name.

    Returns:
        examples and products with the columns of `store`, and the planted truth: example_id, label
        of the rows changed.
    """
    rng = np.random.default_rng(seed)
    choice = np.random.default_rng([seed, 1])  # of its own, so that synonyms change nothing else
    words = _words(synonyms)
    brands = _brands(min(max(40, queries // 20), 2000), synonyms, rng, choice)
    asked = _draw_queries(queries, words, brands, rng, choice)
    asked["query_id"] = np.arange(queries)
    asked["split"] = np.where(
        rng.permutation(queries) < round(TEST_SHARE * queries), "test", "train"
    )
    asked["task1"] = rng.random(queries) < TASK1_SHARE
    low, high = depth - depth // 2, depth + depth // 2
    rows = asked.loc[asked.index.repeat(rng.integers(low, high + 1, queries))].reset_index(
        drop=True
    )
    rows["label"] = rng.choice(LABELS, len(rows), p=LABEL_SHARES / LABEL_SHARES.sum())
    products = _draw_products(rows, words, brands, rng, choice)
    rows["product_id"] = products["product_id"]
    rows["example_id"] = np.arange(len(rows))
    rows["task2"] = rows["task3"] = True
    codes = rows["label"].map({label: i for i, label in enumerate(LABELS)}).to_numpy()
    slips = (
        SLIP_RATES / (SLIP_RATES @ LABEL_SHARES) * LABEL_SHARES.sum()
        if by_label
        else np.ones(len(LABELS))
    )
    changed = (rows["split"] == "train").to_numpy() & (rng.random(len(rows)) < noise * slips[codes])
    planted = rows.loc[changed, ["example_id", "label"]].reset_index(drop=True)
    if by_label:
        wrong = (rng.random((len(rows), 1)) < CONFUSION[codes].cumsum(axis=1)).argmax(axis=1)
    else:
        wrong = (codes + rng.integers(1, len(LABELS), len(rows))) % len(LABELS)
    rows["label"] = np.array(LABELS)[np.where(changed, wrong, codes)]
    rows["substitute"] = (rows["label"] == "substitute").astype("boolean")
    return rows[list(EXAMPLE_COLUMNS)], products, planted
