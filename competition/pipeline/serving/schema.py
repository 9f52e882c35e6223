"""What requests hold. Keys that other servers know and this one does not are not looked at."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from competition.core.errors import escape_controls

LONGEST_QUERY = 2_000  # characters

Query = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_QUERY)]
Text = Annotated[str, StringConstraints(max_length=50_000)]


class TextDocument(BaseModel):
    """A document as an object, of which the text is read."""

    text: Text


class RerankRequest(BaseModel):
    """`/rerank`, as Jina and Cohere have it."""

    query: Query
    documents: Annotated[list[Text | TextDocument], Field(min_length=1)]
    top_n: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool = False
    model: str | None = None  # there is one

    @property
    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


class ScoreRequest(BaseModel):
    """`/score`: products as texts, or as objects with the fields of the competition."""

    query: Query
    products: Annotated[list[Text | dict[str, Text | None]], Field(min_length=1)]
    locale: Annotated[str, StringConstraints(max_length=100)] = ""


_OF_PYDANTIC = ("body", "constrained-str")  # names that no client wrote


def describe(errors: list[Any], is_json: bool = True) -> str:
    """Return the first fault of a request in a sentence, safe to send back.

    Args:
        errors: as pydantic lists them.
        is_json: whether the request said that its body is JSON.
    """
    if not is_json:
        return (
            "The body is not read as JSON: send it with the header Content-Type: application/json."
        )
    fault = errors[0]
    if fault["type"] == "json_invalid":
        sentence = (
            f"The body is not JSON, see character {fault['loc'][-1]}: {fault['ctx']['error']}"
        )
    else:
        where = ".".join(str(part) for part in fault["loc"] if part not in _OF_PYDANTIC)
        sentence = f"{where or 'the body'}: {fault['msg']}"
    return escape_controls(sentence[:300].encode("ascii", "backslashreplace").decode())
