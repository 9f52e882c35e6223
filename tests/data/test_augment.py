"""Rows made from rows: which ones, with what text, and under names that nothing else has."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.core.errors import InputError
from competition.data.augment import (
    LONG_DENSE_TEXT,
    LONG_TEXT,
    Augmented,
    append_augmented,
    base_locales,
    scarce_labels,
    split_long,
    split_text,
    texts_to_translate,
    translate,
)
from competition.data.border import PRODUCT_KEY
from competition.data.store import product_rows
from competition.data.text import clean
from tests.esci import CONTEST, EXAMPLE_COLUMNS, FIELDS, LABELS, LOCALES, PRODUCT_COLUMNS

Tables = tuple[pd.DataFrame, pd.DataFrame]
SENTENCE = "holds a litre of cold water and does not leak . "  # 48 characters
BESIDE = ("title", "brand", "color")


def tables(*rows: dict) -> Tables:
    """A training row and a product for each of `rows`, es and irrelevant unless they say so; ids 10, 11, …."""
    examples, products = [], []
    for i, row in enumerate(rows):
        given_row = {
            "locale": "es",
            "label": "irrelevant",
            "split": "train",
            "query": f"consulta {i}",
        } | row
        example = {
            "example_id": 10 + i,
            "query_id": i,
            "product_id": f"P{i}",
            "task1": True,
            "task2": True,
        }
        examples.append(
            example | {"task3": False, "substitute": given_row["label"] == "substitute"} | given_row
        )
        fields = {field: given_row.get(field, "") for field in FIELDS} | {
            "title": row.get("title", f"botella {i}")
        }
        products.append(
            {"locale": given_row["locale"], "product_id": examples[-1]["product_id"], **fields}
        )
    frame = pd.DataFrame(examples)[list(EXAMPLE_COLUMNS)].astype(
        {"label": "str", "substitute": "boolean"}
    )
    return frame, pd.DataFrame(products)[list(PRODUCT_COLUMNS)].drop_duplicates(PRODUCT_KEY)


def split_scarce(examples: pd.DataFrame, products: pd.DataFrame) -> Augmented:
    """Split rows where others, without a product, make `exact` the most frequent label."""
    others = examples.iloc[[0] * (len(examples) + 1)].assign(
        example_id=range(900, 901 + len(examples)), label="exact", split="train", product_id="none"
    )
    return split_long(pd.concat([examples, others]), products, CONTEST)


NOTHING = split_scarce(*tables({"label": "exact"}))  # no row


class English(dict):
    """A translator that says what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def __missing__(self, text: str) -> str:
        self.asked.add(text)
        return f"{text} in English"


def check_names(new: Augmented, examples: pd.DataFrame, products: pd.DataFrame) -> None:
    """What holds of all new rows: each finds its product, keys are free, and a row says what it was made from."""
    actual = product_rows(new.examples, new.products)
    assert (actual >= 0).all()
    assert set(actual) == set(range(len(new.products)))
    keys = pd.concat([products, new.products])[PRODUCT_KEY]
    assert not keys.duplicated().any()
    source = examples.set_index("example_id").loc[new.source]
    assert (source["split"] == "train").all()
    for column in ("query_id", "label", "substitute", "split", "task1", "task2", "task3"):
        assert new.examples[column].tolist() == source[column].tolist()
    for locale, base in zip(new.examples["locale"], source["locale"], strict=True):
        assert locale in (f"{base}-append", "es-us")
        assert locale != "es-us" or base == "es"


# --- locales ---


@pytest.mark.parametrize(
    ("locale", "base"),
    [
        ("us", "us"),
        ("es", "es"),
        ("jp", "jp"),
        ("es-us", "us"),
        *((f"{name}-append", name) for name in LOCALES),
    ],
)
def test_a_locale_is_of_a_language_and_a_shop(locale: str, base: str) -> None:
    assert base_locales(CONTEST.locales)[locale] == base


# --- translation ---


def test_spanish_training_rows_are_translated() -> None:
    examples, products = tables(
        {
            "title": "<b>Botella</b>  azul",
            "brand": "Acme",
            "color": "azul",
            "bullets": "grande",
            "description": "nueva",
        },
        {"locale": "us"},
        {"split": "test"},
        {"locale": "jp"},
        {"label": "exact", "query": "vaso &amp; copa"},
    )
    new = translate(examples, products, English(), CONTEST)
    assert new.examples["query"].tolist() == ["consulta 0 in English", "vaso & copa in English"]
    assert new.examples["locale"].tolist() == new.products["locale"].tolist() == ["es-us", "es-us"]
    assert new.products["title"].tolist() == ["Botella azul in English", "botella 4 in English"]
    assert (
        new.products.iloc[0]
        .drop(["title", "locale"])
        .equals(products.iloc[0].drop(["title", "locale"]))
    )
    assert new.source.tolist() == [10, 14]
    check_names(new, examples, products)


def test_a_row_needs_one_of_the_labels() -> None:
    examples, products = tables(*[{}] * 4)
    examples["label"] = pd.Series(["exact", None, None, "exact"], dtype="str")
    examples["substitute"] = pd.Series([None, True, None, False], dtype="boolean")
    assert translate(examples, products, English(), CONTEST).source.tolist() == [10, 11, 13]


def test_rows_of_one_product_or_query_share_its_translation() -> None:
    one = {"product_id": "P0", "title": "botella"}
    examples, products = tables(one, one | {"query": "vaso"}, {"query": "vaso"})
    new = translate(examples, products, English(), CONTEST)
    assert len(new.products) == 2
    assert new.products["title"].tolist() == [
        "botella in English",
        "botella 2 in English",
    ]
    assert product_rows(new.examples, new.products).tolist() == [0, 0, 1]
    check_names(new, examples, products)


def test_the_product_is_that_of_the_row_s_locale() -> None:
    examples, products = tables({"title": "taza"})
    elsewhere = products.assign(locale="us", title="cup")
    new = translate(examples, pd.concat([elsewhere, products]), English(), CONTEST)
    assert new.products["title"].tolist() == ["taza in English"]


def test_a_row_without_a_product_is_not_translated() -> None:
    examples, products = tables({}, {}, {})
    new = translate(examples, products.iloc[[0, 2]], English(), CONTEST)
    assert new.source.tolist() == [10, 12]
    assert new.examples["query"].str[:10].tolist() == [
        "consulta 0",
        "consulta 2",
    ]
    check_names(new, examples, products.iloc[[0, 2]])


@pytest.mark.parametrize("title", ["", "  ", "<br>"])
def test_a_missing_title_stays_missing(title: str) -> None:
    examples, products = tables({"title": title, "brand": "Acme"})
    assert texts_to_translate(examples, products, CONTEST) == ["consulta 0"]
    assert translate(examples, products, {"consulta 0": "query 0"}, CONTEST).products[
        "title"
    ].tolist() == [""]


def test_a_query_of_tags_alone_stays_empty() -> None:
    """The border lets it in: it is a text, if one that says nothing."""
    examples, products = tables({"query": "<br>"})
    assert texts_to_translate(examples, products, CONTEST) == ["botella 0"]
    assert translate(examples, products, {"botella 0": "bottle"}, CONTEST).examples[
        "query"
    ].tolist() == [""]


def test_a_text_without_a_translation_is_an_error() -> None:
    examples, products = tables({})
    for known in ("consulta 0", "botella 0"):
        with pytest.raises(KeyError):
            translate(examples, products, {known: "x"}, CONTEST)


def test_texts_to_translate_are_distinct_cleaned_and_in_order() -> None:
    examples, products = tables(
        {"title": "<b>Vaso</b>"},
        {"title": "Vaso", "query": " consulta  0"},
        {"title": "azul", "query": "Vaso"},
        {"title": "lost", "query": "Vaso"},
        {"title": "taza", "split": "test"},
        {"title": "cup", "locale": "us"},
    )
    other = tables({"title": "not asked for", "product_id": "P9"})[1]
    listed = pd.concat([other, products[products["title"] != "lost"]])
    assert texts_to_translate(examples, listed, CONTEST) == ["Vaso", "azul", "consulta 0"]


def test_what_is_asked_for_is_translated_and_nothing_else(catalogue: Tables) -> None:
    examples, products = catalogue
    english = English()
    new = translate(examples, products, english, CONTEST)
    texts = texts_to_translate(examples, products, CONTEST)
    assert len(texts) > 20
    assert sorted(english.asked) == texts
    rows = examples[(examples["locale"] == "es") & (examples["split"] == "train")]
    assert new.source.tolist() == rows["example_id"].tolist()
    check_names(new, examples, products)


def test_what_is_asked_for_is_translated_where_a_product_is_missing() -> None:
    examples, products = tables({}, {})
    english = English()
    translate(examples, products.tail(1), english, CONTEST)
    assert (
        sorted(english.asked)
        == texts_to_translate(examples, products.tail(1), CONTEST)
        == ["botella 1", "consulta 1"]
    )


# --- pieces ---


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abcdefgh", 8, ["abcdefgh"]),
        ("abcdefghi", 8, ["abcd", "efghi"]),  # round(9 / 2) is 4
        ("abcdefghij", 4, ["abc", "defg", "hij"]),  # cuts at round(3.3) and round(6.7)
        ("ab cdef gh", 6, ["ab cdef", "gh"]),  # the next blank after 5
        ("水筒は青いです", 4, ["水筒は青", "いです"]),
        ("a", 8, ["a"]),
        (
            "x" * 40 + " " + "y" * 59,
            50,
            ["x" * 40 + " " + "y" * 9, "y" * 50],
        ),  # one before the cut is not looked for
        ("x" * 50 + "y" * 29 + " " + "z" * 20, 50, ["x" * 50 + "y" * 29, "z" * 20]),
        (
            "x" * 50 + "y" * 30 + " " + "z" * 19,
            50,
            ["x" * 50, "y" * 30 + " " + "z" * 19],
        ),  # too far
    ],
)
def test_a_text_is_cut_at_the_next_blank(text: str, limit: int, expected: list[str]) -> None:
    assert split_text(text, limit) == expected


WORDS = st.lists(
    st.text(st.sampled_from("ab水é"), min_size=1, max_size=60), min_size=1, max_size=120
).map(" ".join)


@given(WORDS, st.sampled_from([100, 300, 800]))
def test_pieces_lose_no_text_and_are_about_equal(text: str, limit: int) -> None:
    actual = split_text(text, limit)
    assert len(actual) == -(-len(text) // limit)
    assert "".join(actual).replace(" ", "") == text.replace(" ", "")
    place = 0
    for piece in actual:
        place = text.index(piece, place) + len(piece)  # in order, each as it stands in the text
        # A cut moves by less than 30 characters, and a blank is lost at each end.
        assert abs(len(piece) - len(text) / len(actual)) <= 31
        assert piece == piece.strip() != ""
        assert len(piece) < limit + 30


# --- rebalancing ---


def limit_of(locale: str) -> int:
    """As many characters as a row of that locale may have."""
    return LONG_DENSE_TEXT if locale == "jp" else LONG_TEXT


def long_text(locale: str, more: int = 1) -> str:
    """As many characters as a row of that locale may have, and `more`."""
    return (SENTENCE * 100)[: limit_of(locale) + more - 1].replace(" ", "_") + "x"


@pytest.mark.parametrize("locale", LOCALES)
def test_a_long_scarce_row_is_split(locale: str) -> None:
    assert (LONG_DENSE_TEXT, LONG_TEXT) == (300, 800)
    bullets, description = long_text(locale)[:100], long_text(locale)[100:]
    row = {"locale": locale, "title": "<b>Cup</b>", "brand": "Acme", "color": "red"}
    examples, products = tables(
        {}, row | {"bullets": bullets, "description": f"<p>{description}</p>"}
    )
    new = split_scarce(examples, products)
    assert new.source.tolist() == [11, 11]
    assert new.examples["query"].tolist() == ["consulta 1"] * 2
    assert set(new.examples["locale"]) == set(new.products["locale"]) == {f"{locale}-append"}
    for field in BESIDE:
        assert new.products[field].tolist() == [products[field].iloc[1]] * 2
    assert new.products["description"].tolist() == ["", ""]
    assert " ".join(new.products["bullets"]).replace(" ", "") == bullets + description
    check_names(new, examples, products)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(("more", "rows"), [(0, 0), (1, 2)])
def test_only_long_text_is_split(locale: str, more: int, rows: int) -> None:
    """Tags do not count, and neither does a title."""
    text = f"<b>{long_text(locale, more)}</b>"
    for field in ("bullets", "description"):
        new = split_scarce(*tables({"locale": locale, field: text, "title": text}))
        assert len(new.examples) == len(new.products) == len(new.source) == rows
    # The blank between the two fields is a character, too.
    halves = {"bullets": text[: len(text) // 2], "description": text[len(text) // 2 :]}
    assert len(split_scarce(*tables({"locale": locale, **halves})).source) == 2


@pytest.mark.parametrize("label", LABELS)
def test_only_scarce_labels_are_split(label: str) -> None:
    new = split_scarce(*tables({"label": label, "bullets": long_text("es")}))
    assert new.examples["label"].tolist() == ([] if label == "exact" else [label] * 2)


def test_all_labels_but_the_most_frequent_are_scarce() -> None:
    examples, _ = tables({"label": "complement"}, {"label": "complement"}, {"label": "exact"})
    assert scarce_labels(examples, LABELS) == ["exact", "substitute", "irrelevant"]
    assert scarce_labels(examples.head(0), ("a", "b")) == ["b"]


def test_without_a_locale_of_each_language_nothing_is_translated() -> None:
    contest = replace(CONTEST, locales=CONTEST.locales[:1])
    with pytest.raises(InputError, match="translate_with needs a locale of the language 'es' and"):
        texts_to_translate(*tables({}), contest)
    assert base_locales(contest.locales) == {"us": "us", "us-append": "us"}
    assert base_locales(()) == {"": "", "-append": ""}


def test_test_rows_and_rows_without_a_label_or_product_are_not_split() -> None:
    long = {"bullets": long_text("es")}
    examples, products = tables(long, long | {"split": "test"}, long, long, long)
    examples.loc[2, "label"] = None
    new = split_scarce(examples, products[products["product_id"] != "P3"])
    assert new.source.tolist() == [10, 10, 14, 14]
    assert new.examples["query"].tolist() == [
        "consulta 0",
        "consulta 0",
        "consulta 4",
        "consulta 4",
    ]
    check_names(new, examples, products)


def test_one_product_is_split_for_each_of_its_rows() -> None:
    row = {
        "product_id": "P0",
        "locale": "us",
        "bullets": SENTENCE * 60,
    }  # 2,879 characters when it is cleaned
    examples, products = tables(row, row | {"label": "complement"}, row | {"locale": "es"})
    new = split_scarce(examples, products)
    assert len(products) == 2
    assert new.source.tolist() == [10] * 4 + [11] * 4 + [12] * 4
    check_names(new, examples, products)
    text = clean(SENTENCE * 60)
    for source in (10, 11, 12):
        assert (
            " ".join(new.products["bullets"][new.source == source]) == text
        )  # cut at blanks alone
        assert new.products["bullets"][new.source == source].str.len().between(690, 750).all()


def test_nothing_to_split_is_no_row(catalogue: Tables) -> None:
    new = split_scarce(*catalogue)  # whose texts are short
    assert (len(new.examples), len(new.products), len(new.source)) == (0, 0, 0)
    assert (set(new.examples), set(new.products)) == ({*EXAMPLE_COLUMNS}, {*PRODUCT_COLUMNS})


# --- all together ---


def test_new_rows_stand_behind_the_given_ones_under_free_ids() -> None:
    long = {"bullets": long_text("es")}
    examples, products = tables(long, {"locale": "us", "split": "test"}, long | {"label": "exact"})
    examples = examples.iloc[[2, 0, 1]]  # the last id is not the largest
    new = [
        translate(examples, products, English(), CONTEST),
        split_scarce(examples, products),
    ]
    everything = append_augmented(examples, products, new)
    assert everything.examples["example_id"].tolist() == [12, 10, 11, 13, 14, 15, 16]
    assert everything.source.tolist() == [12, 10, 11, 12, 10, 10, 10]
    assert everything.examples["locale"].tolist() == [
        "es",
        "es",
        "us",
        "es-us",
        "es-us",
        "es-append",
        "es-append",
    ]
    assert everything.examples.index.tolist() == list(range(7))
    pd.testing.assert_frame_equal(everything.examples.head(3), examples.reset_index(drop=True))
    pd.testing.assert_frame_equal(everything.products.head(3), products.reset_index(drop=True))
    assert len(everything.products) == 3 + 2 + 2
    assert not everything.products[PRODUCT_KEY].duplicated().any()
    assert (product_rows(everything.examples, everything.products) >= 0).all()
    read = everything.products["bullets"].iloc[
        product_rows(everything.examples, everything.products)
    ]
    # Rows 12 and 10 and their translations have the whole text, row 11 none, and two rows a piece
    # each.
    assert [len(text) for text in read] == [801, 801, 0, 801, 801, 400, 401]


@pytest.mark.parametrize("new", [[], [NOTHING], [NOTHING, NOTHING]], ids=["[]", "1", "2"])
def test_nothing_new_leaves_everything_as_it_was(new: list[Augmented], catalogue: Tables) -> None:
    examples, products = catalogue
    everything = append_augmented(examples, products, new)
    assert everything.source.tolist() == examples["example_id"].tolist()
    assert everything.source.dtype == np.int64
    pd.testing.assert_frame_equal(everything.examples, examples)
    pd.testing.assert_frame_equal(everything.products[list(products)], products)


@pytest.mark.parametrize("missing", [False, True])
def test_types_of_columns_stay(missing: bool) -> None:
    long = {"bullets": long_text("es")}
    examples, products = tables(long, long)
    if missing:
        examples.loc[0, "substitute"] = pd.NA
    everything = append_augmented(
        examples,
        products,
        [
            translate(examples, products, English(), CONTEST),
            split_scarce(examples, products),
        ],
    )
    assert everything.examples.dtypes.equals(examples.dtypes)
    assert everything.products.dtypes.equals(products.dtypes)
    assert everything.examples["substitute"].isna().sum() == (4 if missing else 0)


def test_the_given_tables_are_left_alone() -> None:
    long = {"bullets": long_text("es")}
    examples, products = tables(long, long)
    before = examples.copy(), products.copy()
    append_augmented(
        examples,
        products,
        [
            translate(examples, products, English(), CONTEST),
            split_scarce(examples, products),
        ],
    )
    pd.testing.assert_frame_equal(examples, before[0])
    pd.testing.assert_frame_equal(products, before[1])
