"""Names of content, and seeds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.core.atomic import write_text
from competition.core.fingerprint import derive_seed, fingerprint, fingerprint_files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


def reverse(content: object) -> object:
    """The same content with every dictionary in the reverse order."""
    if isinstance(content, dict):
        return {key: reverse(content[key]) for key in reversed(content)}
    return [reverse(item) for item in content] if isinstance(content, list) else content


@given(JSON)
def test_the_order_of_keys_does_not_change_a_fingerprint(content: object) -> None:
    assert fingerprint(content) == fingerprint(reverse(content))


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (None, "null"), ([], {}), (["ab"], ["a", "b"]), ([1, 2], [2, 1])]
)
def test_other_content_has_another_fingerprint(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_fingerprints_and_seeds_are_pinned() -> None:
    # A new value would put every artefact of every workspace out of date, or change every result.
    assert fingerprint({"b": [1, "é"], "a": None}) == "1c3d52eb78675f43"
    assert derive_seed(2022, "c1", 0) == 1_184_845_719
    assert derive_seed("bootstrap") == 429_785_710


@given(st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4))
def test_a_seed_has_31_bits(parts: list[str | int]) -> None:
    assert 0 <= derive_seed(*parts) < 2**31


def test_a_seed_knows_where_a_part_ends() -> None:
    assert (
        len(
            {
                derive_seed("a", "bc"),
                derive_seed("ab", "c"),
                derive_seed("abc"),
                derive_seed("a", "b", "c"),
            }
        )
        == 4
    )


def test_the_name_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, order in ((one, "ab"), (other, "ba")):
        for name in order:
            write_text(folder / name, name)
    assert fingerprint_files(one) == fingerprint_files(other)
    (other / "a").rename(other / "c")
    assert fingerprint_files(one) != fingerprint_files(other)
