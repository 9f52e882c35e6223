"""Product text as models read it."""

import html
import re
from collections.abc import Callable, Iterable

# A tag begins with a letter or a slash, so that `a < b` and `<3` stay what they are.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TAG_OR_COMMENT = re.compile(rf"{_TAG.pattern}|<!--.*?-->", re.DOTALL)
_PUNCTUATION = re.compile(r"[^\w\s]|_")


def clean(text: str) -> str:
    """Return a text without HTML tags and entities, with single spaces."""
    if "<" in text:
        # No comment ends behind the last arrow; to look for its end from each `<!--` there takes
        # quadratic time.
        before, arrow, behind = text.rpartition("-->")
        text = _TAG_OR_COMMENT.sub(" ", before + arrow) + _TAG.sub(" ", behind)
    if "&" in text:
        text = html.unescape(text)

    return " ".join(text.split())


def map_distinct(function: Callable[[str], str], texts: Iterable[str]) -> list[str]:
    """Return `function` of each text, computed once for a text that is repeated, as names and queries are."""
    listed = list(texts)
    results = {text: function(text) for text in dict.fromkeys(listed)}
    return [results[text] for text in listed]


def clean_all(texts: Iterable[str]) -> list[str]:
    """Return each text as `clean` makes it."""
    return map_distinct(clean, texts)


def simplify(text: str) -> str:
    """Return a cleaned text in lower case without punctuation.

    Names such as brands, and character n-grams, are read from this form.
    """
    return " ".join(_PUNCTUATION.sub("", clean(text).lower()).split())
