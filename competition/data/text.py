"""Product text as models read it."""

import html
import re
from collections.abc import Iterable

FIELDS = ("title", "brand", "color", "bullets", "description")
FIELD_ORDERS = {
    "ptbcbd": ("title", "brand", "color", "bullets", "description"),
    "ptbdbc": ("title", "bullets", "description", "brand", "color"),
    "ptdbbc": ("title", "description", "bullets", "brand", "color"),
}
# A tag begins with a letter or a slash, so that `a < b` and `<3` stay what they are.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TAG_OR_COMMENT = re.compile(rf"{_TAG.pattern}|<!--.*?-->", re.DOTALL)


def clean(text: str) -> str:
    """Text without HTML tags and entities, with single spaces."""
    if "<" in text:
        # No comment ends behind the last arrow; to look for its end from each `<!--` there takes
        # quadratic time.
        before, arrow, behind = text.rpartition("-->")
        text = _TAG_OR_COMMENT.sub(" ", before + arrow) + _TAG.sub(" ", behind)
    if "&" in text:
        text = html.unescape(text)
    return " ".join(text.split())


def clean_all(texts: Iterable[str]) -> list[str]:
    """`clean` of each text."""
    return [clean(text) for text in texts]


_PUNCTUATION = re.compile(r"[^\w\s]|_")


def simplify(text: str) -> str:
    """Cleaned text in lower case without punctuation: what brands, colors and character n-grams are read from."""
    return " ".join(_PUNCTUATION.sub("", clean(text).lower()).split())
