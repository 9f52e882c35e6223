"""What the user may have meant, and names of strangers in messages."""

import pytest

from competition.core.errors import did_you_mean, unknown_name

KNOWN = ["lexical", "c1", "c2", "c3", "r1", "t2", "blend"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lexcal", " (did you mean 'lexical'?)"),
        ("LEXICAL", " (did you mean 'lexical'?)"),
        ("c9", " (did you mean 'c1', 'c2' or 'c3'?)"),  # one of two letters is wrong
        ("c11", " (did you mean 'c1'?)"),
        ("C2", " (did you mean 'c2'?)"),
        ("x2", " (did you mean 'c2' or 't2'?)"),
        ("zz", ""),
        ("boosting", ""),
        ("", ""),
    ],
)
def test_the_nearest_names_are_those_that_differ_least(word: str, hint: str) -> None:
    assert did_you_mean(word, KNOWN) == hint


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert did_you_mean("c1", []) == ""


def test_an_unknown_name_is_answered_with_all_that_are_known() -> None:
    sentence = (
        "There is no recipe 'c9' (did you mean 'c1', 'c2' or 'c3'?): known are c1, c2, c3, lexical."
    )
    assert str(unknown_name("recipe", "c9", ["c1", "c2", "c3", "lexical"])) == sentence
    assert len(str(unknown_name("recipe", "?", [f"recipe-{n}" for n in range(1000)]))) < 400
