"""The products of a workspace, as texts that a page can search."""

from collections.abc import Sequence

from competition.core.errors import InputError, join_names
from competition.core.workspace import Workspace
from competition.data.layout import served_documents
from competition.models.lexical.bm25 import TextIndex
from competition.pipeline.steps import Pipeline


class Catalogue:
    """Distinct texts of products, each as a server is sent it, found by BM25."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the texts, the empty ones left out."""
        self._texts = [text for text in dict.fromkeys(texts) if text]
        self._index = TextIndex(self._texts)

    @classmethod
    def open(cls, workspace: Workspace, fields: Sequence[str]) -> "Catalogue":
        """Return the products of a workspace.

        Args:
            workspace: with data.
            fields: of a product, in the order in which the served model reads them.

        Raises:
            InputError: its products do not have these fields.
        """
        products = Pipeline(workspace).tables.products
        if missing := [field for field in fields if field not in products]:
            raise InputError(
                f"The products of {workspace.root} have no {join_names(missing)}, which the model reads: name a "
                "workspace of the same competition."
            )
        return cls(served_documents(products, fields))

    def __len__(self) -> int:
        return len(self._texts)

    def search(self, query: str, limit: int) -> list[str]:
        """Return the texts that fit a query best, at most `limit`."""
        return [self._texts[place] for place in self._index.search(query, limit)]
