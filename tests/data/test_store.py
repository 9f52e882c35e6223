"""Products of rows are found by locale and id."""

import numpy as np
import pandas as pd
import pytest

from competition.data.store import product_rows


def table(*keys: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(keys, columns=["locale", "product_id"])


def test_an_id_is_another_product_in_another_locale() -> None:
    products = table(("es", "A"), ("us", "A"), ("us", "B"))
    rows = table(("us", "B"), ("us", "A"), ("es", "A"), ("es", "B"), ("jp", "A"), ("us", "C"))
    assert product_rows(rows, products).tolist() == [2, 1, 0, -1, -1, -1]
    assert product_rows(rows, products.iloc[:0]).tolist() == [-1] * 6
    assert product_rows(rows.iloc[:0], products).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_products_of_many_rows_are_those_of_a_dictionary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = sorted({(f"l{a}", f"P{b}") for a, b in rng.integers(0, 30, (300, 2))})
    rows = table(*((f"l{a}", f"P{b}") for a, b in rng.integers(0, 40, (500, 2))))
    place = {key: i for i, key in enumerate(pairs)}
    expected = [place.get(key, -1) for key in rows.itertuples(index=False, name=None)]
    assert product_rows(rows, table(*pairs)).tolist() == expected
