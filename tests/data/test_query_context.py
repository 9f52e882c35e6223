"""Query context: what candidates share, worked out by hand, and what it must never look at."""

from math import log

import numpy as np
import pandas as pd
import pytest

from competition.data.query_context import extract_words, with_context
from tests.esci import CONTEST, EXAMPLE_COLUMNS, FIELDS, LABELS

Tables = tuple[pd.DataFrame, pd.DataFrame]


def tables(*lists: tuple[str, str, list], locale: str = "us") -> Tables:
    """A query with its split and its candidates, titles or fields, for each of `lists`; query ids go by the text."""
    examples, products = [], []
    ids = {query: i for i, query in enumerate(dict.fromkeys(query for query, _, _ in lists))}
    for query, split, candidates in lists:
        for candidate in candidates:
            fields = {"title": candidate} if isinstance(candidate, str) else candidate
            key = {"locale": locale, "product_id": f"P{len(products)}"}
            products.append(key | dict.fromkeys(FIELDS, "") | fields)
            examples.append(
                key | {"query_id": ids[query], "query": query, "split": split, "label": "exact"}
            )
    frame = pd.DataFrame(examples).assign(
        example_id=range(len(examples)), substitute=False, task1=True
    )
    return frame.assign(task2=True, task3=True)[list(EXAMPLE_COLUMNS)], pd.DataFrame(products)


def queries(*lists: tuple[str, str, list], locale: str = "us") -> list[str]:
    """The text of each list's query."""
    examples, products = tables(*lists, locale=locale)
    text = with_context(examples, products, CONTEST)["query"]
    sizes = [len(candidates) for _, _, candidates in lists]
    parts = np.split(text.to_numpy(object), np.cumsum(sizes)[:-1])
    assert all(len(set(part)) == 1 for part in parts)  # one text for all rows of a list
    return [part[0] for part in parts]


def by_id(examples: pd.DataFrame) -> dict[int, str]:
    return dict(zip(examples["example_id"], examples["query"], strict=True))


# --- words ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red <b>RED</b> shoes, size 12!", {"red", "shoes", "size", "12"}),
        ("a 5 x", set()),  # of one letter
        ("wi-fi_6e caf&eacute;", {"wi", "fi", "6e", "café"}),
        ("ステンレス製 水筒500ml", {"ステンレス", "水筒", "500ml"}),  # 製 is one letter
        ("おしゃれな水筒のセット", {"水筒", "セット"}),  # hiragana is grammar
        ("ｽﾃﾝﾚｽ ＵＳＢ", {"ステンレス", "usb"}),
        ("ボールペン黒色book", {"ボールペン", "黒色", "book"}),
        ("botella año niño", {"botella", "año", "niño"}),
        ("", set()),
    ],
)
def test_words(text: str, expected: set[str]) -> None:
    assert extract_words(text) == expected


# --- by hand ---


def test_keywords_by_hand() -> None:
    """Eight training products; of the first four, three say steel, two lid and blue, one handle; all say bottle.

    steel: 3 * log(8 / 6), lid: 2 * log(8 / 2), blue: 2 * log(8 / 4).
    """
    assert 2 * log(8 / 2) > 2 * log(8 / 4) > 3 * log(8 / 6) > 0
    first = [
        "steel bottle lid",
        "Steel bottle, blue lid",
        "blue steel bottle",
        "bottle handle handle",
    ]
    second = ["steel pan", "steel pot", "steel knife blue", "blue spoon"]
    text = queries(("bottle", "train", first), ("kitchen", "train", second))
    # Of the second four, three say steel and two blue: 3 * log(8 / 6) = .86, 2 * log(8 / 4) = 1.39
    assert text == ["bottle | lid blue steel", "kitchen | blue steel"]


def test_a_word_that_more_candidates_share_may_outweigh_a_rarer_one() -> None:
    """Eight training products: steel is in 4 of them and zinc in 3; three and two of them are candidates."""
    assert 3 * log(8 / 4) > 2 * log(8 / 3)
    assert log(8 / 4) < log(8 / 3)
    first, second = ["steel zinc", "zinc steel", "steel"], ["steel", "zinc", "pan", "pot", "lid"]
    assert queries(("x", "train", first), ("y", "train", second)) == ["x | steel zinc", "y"]


def test_equal_titles_of_two_products_count_twice() -> None:
    """Of seven training products, five say zinc and four steel: 2 * log(7 / 4) > 2 * log(7 / 5)."""
    others = ["zinc", "zinc", "zinc", "steel pan", "steel pot"]
    assert (
        queries(("x", "train", ["steel zinc"] * 2), ("zinc", "train", others))[0]
        == "x | steel zinc"
    )


def test_a_word_counts_once_per_title() -> None:
    """Each is in two titles of the four, however often."""
    lists = ["big cup cup cup cup", "big cup"]
    assert queries(("x", "train", lists), ("y", "train", ["saw", "axe"])) == ["x | big cup", "y"]


def test_equal_weights_go_by_the_alphabet_and_five_are_kept() -> None:
    """Seven words of equal weight."""
    title = "grey fog elk dog cow bee ant"
    assert queries(("x", "train", [title, title]), ("y", "train", ["z1"])) == [
        "x | ant bee cow dog elk",
        "y",
    ]


def test_five_keywords_are_the_heaviest() -> None:
    """Nine products: ww has 2 * log(9 / 3), the others, which nobody else says, 2 * log(9 / 2)."""
    lists = (
        ("x", "train", ["ww zz yy vv uu tt"] * 2),
        ("y", "train", ["ww", *(f"other{i}" for i in range(6))]),
    )
    assert queries(*lists)[0] == "x | tt uu vv yy zz"


def test_a_word_of_every_title_weighs_nothing_but_is_shared() -> None:
    assert queries(("x", "train", ["cup one", "cup two"])) == ["x | cup"]


@pytest.mark.parametrize(
    "query", ["blue bottle", "Bottle, BLUE!", "<b>blue</b> bottle", "ｂｌｕｅ bottle"]
)
def test_words_of_the_query_are_not_repeated(query: str) -> None:
    assert queries((query, "train", ["blue steel bottle", "steel bottle blue"])) == [
        f"{query} | steel"
    ]


def test_a_candidate_alone_shares_nothing() -> None:
    one = {"title": "steel bottle", "brand": "Acme", "color": "red"}
    assert queries(("x", "train", [one]), ("y", "train", ["steel bottle"])) == ["x", "y"]


def test_candidates_that_share_nothing_add_nothing() -> None:
    lists = [
        {"title": "cup", "brand": "Acme", "color": "red"},
        {"title": "mug", "brand": "Zeta", "color": "blue"},
    ]
    assert queries(("x", "train", lists)) == ["x"]


def test_brands_and_colors_by_hand() -> None:
    """Zeta is there three times, acme and beta twice; red and dark blue twice."""
    brands = ["Zeta", "ZETA!", "<b>zeta</b>", "beta", "Beta", "Acme", "acme", "once"]
    colors = ["red", "Red", "", "dark blue", "Dark  Blue", "", "", "-"]
    rows = [
        {"title": f"t{i}", "brand": b, "color": c}
        for i, (b, c) in enumerate(zip(brands, colors, strict=True))
    ]
    assert queries(("cup", "train", rows)) == ["cup | zeta acme | dark blue red"]


def test_two_colors_are_kept() -> None:
    rows = [
        {"title": f"t{i}", "color": color}
        for i, color in enumerate(["red", "green", "blue"] * 2 + ["red"])
    ]
    assert queries(("cup", "train", rows)) == ["cup | red blue"]


def test_keywords_brands_and_colors_stand_in_this_order() -> None:
    rows = [{"title": "cup large", "brand": "acme", "color": "red"}] * 2
    assert queries(("Cup", "train", rows), ("y", "train", ["zz"])) == [
        "Cup | large | acme | red",
        "y",
    ]


def test_japanese_keywords() -> None:
    """Three of four training products say ステンレス, two 水筒: 3 * log(4 / 3) = .86 < 2 * log(4 / 2) = 1.39."""
    titles = ["ステンレスの水筒", "ｽﾃﾝﾚｽ 水筒 大", "軽いステンレス"]
    actual = queries(("ボトル", "train", titles), ("鍋", "train", ["アルミ鍋"]), locale="jp")
    assert actual == ["ボトル | 水筒 ステンレス", "鍋"]


def test_a_candidate_that_the_catalogue_lacks_says_nothing() -> None:
    examples, products = tables(
        ("x", "train", ["steel cup", "steel cup"]), ("y", "train", ["last", "last"])
    )
    actual = with_context(examples, products.drop(1), CONTEST)
    assert actual["query"].tolist() == ["x", "x", "y | last", "y | last"]
    assert (
        with_context(examples, products.head(0), CONTEST)["query"].tolist()
        == examples["query"].tolist()
    )


# --- what it must not look at ---


def test_labels_change_nothing(catalogue: Tables) -> None:
    examples, products = catalogue
    expected = with_context(examples, products, CONTEST)
    assert (expected["query"].str.contains(" | ", regex=False)).mean() > 0.5
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        rows = np.flatnonzero(examples["split"] == split)
        changed, deleted = examples.copy(), examples.copy()
        changed.iloc[rows, changed.columns.get_loc("label")] = rng.choice(LABELS, len(rows))
        changed["substitute"] = changed["label"] == "substitute"
        deleted.iloc[rows, deleted.columns.get_loc("label")] = None
        deleted.iloc[rows, deleted.columns.get_loc("substitute")] = pd.NA
        for other in (changed, deleted, examples.drop(columns=["label", "substitute"])):
            assert with_context(other, products, CONTEST)["query"].equals(expected["query"])


def test_all_other_columns_and_the_input_stay(catalogue: Tables) -> None:
    examples, products = catalogue
    before = examples.copy(), products.copy()
    actual = with_context(examples, products, CONTEST)
    pd.testing.assert_frame_equal(actual.drop(columns="query"), examples.drop(columns="query"))
    assert actual["query"].dtype == examples["query"].dtype
    pd.testing.assert_frame_equal(examples, before[0])
    pd.testing.assert_frame_equal(products, before[1])
    for query, text in zip(examples["query"], actual["query"], strict=True):
        assert text == query or text.startswith(f"{query} | ")


def test_any_type_of_text_will_do_and_is_left_alone(catalogue: Tables) -> None:
    """As frames from elsewhere have it: the border is not the only way in."""
    examples, products = catalogue
    objects = examples.astype({"query": object})
    before = objects["query"].tolist()
    assert (
        with_context(objects, products, CONTEST)["query"].tolist()
        == with_context(examples, products, CONTEST)["query"].tolist()
    )
    assert objects["query"].tolist() == before


def test_test_rows_change_no_training_query(catalogue: Tables) -> None:
    examples, products = catalogue
    train = examples[examples["split"] == "train"]
    expected = by_id(with_context(examples, products, CONTEST).loc[train.index])
    listed = products.merge(train[["locale", "product_id"]].drop_duplicates())
    assert by_id(with_context(train, listed, CONTEST)) == expected
    # Test rows of other text, under the ids of training queries.
    rows = examples.assign(
        query_id=np.where(
            examples["split"] == "test", train["query_id"].iloc[0], examples["query_id"]
        )
    )
    shouted = products.assign(title=products["title"] + " shout", brand="shout", color="shout")
    is_listed = products["product_id"].isin(train["product_id"])
    assert (
        by_id(with_context(rows, products.where(is_listed, shouted), CONTEST).loc[train.index])
        == expected
    )


def test_a_query_in_both_splits_has_two_lists() -> None:
    red = {"title": "red wool cup", "brand": "acme", "color": "red"}
    blue = {"title": "blue silk cup", "brand": "zeta", "color": "blue"}
    actual = queries(
        ("cup", "train", [red, red]),
        ("cup", "test", [blue, blue]),
        ("mug", "train", ["silk blue mug", "wool scarf", "new"]),
    )
    assert actual[:2] == ["cup | red wool | acme | red", "cup | blue silk | zeta | blue"]
    # Where each split has one of a kind, there are no two to share it.
    alone = queries(("cup", "train", [red]), ("cup", "test", [red]))
    assert alone == ["cup", "cup"]


def test_training_candidates_change_no_test_query() -> None:
    """The same training products, for another query: frequencies stay, so do test queries."""
    test = ("flask", "test", ["steel flask lid", "steel flask lid"])
    titles = ["steel cup", "lid of glass", "steel lid", "pan"]
    one = queries(test, ("cup", "train", titles[:2]), ("pan", "train", titles[2:]))
    other = queries(test, ("flask", "train", titles))
    assert one[0] == other[0] == "flask | lid steel"


def test_frequencies_are_those_of_training_products() -> None:
    """A word that fewer than two training titles have weighs as if two had it, whatever test products say.

    Of four training products two say steel, one lid and none zinc: 3 * log(4 / 2), 3 * log(4 / 2) >
    2 * log(4 / 2).
    """
    train = ("cup", "train", ["steel cup", "steel mug", "lid", "pan"])
    actual = queries(
        train, ("flask", "test", ["steel lid zinc"] * 2 + ["zinc lid"]), ("x", "test", ["lid"] * 20)
    )
    assert actual == ["cup | steel", "flask | lid zinc steel", "x | lid"]


def test_their_number_is_that_of_training_products() -> None:
    """Four training products, and twenty that are none; steel is in three of the four, zinc in two."""
    assert 3 * log(4 / 3) < 2 * log(4 / 2)
    assert 3 * log(24 / 3) > 2 * log(24 / 2)
    train = ("cup", "train", ["steel zinc", "zinc steel", "steel", "pan"])
    assert queries(train, ("x", "test", ["pot"] * 20))[0] == "cup | zinc steel"


def test_a_product_of_several_training_rows_counts_once() -> None:
    """Three of five titles have "cup", one of them listed for three queries: 2 * log(5 / 3) < 2 * log(5 / 2)."""
    examples, products = tables(
        ("x", "train", ["zinc bowl", "zinc bowl"]),
        ("y", "train", ["bowl aa", "bb", "cc"]),
        ("z", "train", ["zinc"]),
        ("w", "train", ["zinc"]),
    )
    # Queries z and w list the product "zinc bowl" of x.
    examples["product_id"] = ["P0", "P1", "P2", "P3", "P4", "P0", "P0"]
    actual = with_context(examples, products.head(5), CONTEST)
    # zinc: 2 * log(5 / 2), bowl: 2 * log(5 / 3); counted by rows, zinc would be in 4 of 7 and bowl
    # in 5 of 7.
    assert actual["query"].tolist() == ["x | zinc bowl"] * 2 + ["y"] * 3 + ["z", "w"]


def test_the_order_of_rows_and_products_does_not_matter(catalogue: Tables) -> None:
    examples, products = catalogue
    expected = by_id(with_context(examples, products, CONTEST))
    for seed in range(3):
        rows, listed = (table.sample(frac=1, random_state=seed) for table in catalogue)
        assert by_id(with_context(rows, listed, CONTEST)) == expected


def test_the_index_stays(catalogue: Tables) -> None:
    examples, products = catalogue
    rows = examples.sample(frac=1, random_state=1).set_index(
        pd.Index(np.arange(len(examples)) * 7 % 100)
    )
    actual = with_context(rows, products, CONTEST)
    assert actual.index.equals(rows.index)
    assert actual.index.has_duplicates
    assert by_id(actual) == by_id(with_context(examples, products, CONTEST))


def test_no_rows_are_no_rows(catalogue: Tables) -> None:
    none = catalogue[0].head(0)
    pd.testing.assert_frame_equal(with_context(none, catalogue[1], CONTEST), none)
