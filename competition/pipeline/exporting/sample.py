"""The rows by which an export is compared with its run, and their texts as a server is sent them."""

from __future__ import annotations

from dataclasses import dataclass

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.fingerprint import derive_seed, fingerprint
from competition.core.lazy import pd
from competition.data.layout import served_documents
from competition.data.text import clean
from competition.pipeline.tables import Tables
from competition.scoring.contest import Contest

ROWS = 1000  # that are compared, of whole queries, or all where there are fewer
FITTED = 3000  # other rows, by which one logit is fitted to several

Pair = tuple[str, str]  # query and document


@dataclass(frozen=True)
class Sample:
    """Rows of whole queries.

    Attributes:
        examples: the rows, sorted by example_id.
        pairs: their texts.
        where: what the rows are, in words.
    """

    examples: pd.DataFrame
    pairs: list[Pair]
    where: str

    @property
    def fingerprint(self) -> str:
        """A stable name of the rows and their texts."""
        ids = self.examples["example_id"].tolist()
        return fingerprint([ids, self.pairs])


def fields_of(recipe: EncoderRecipe, contest: Contest) -> tuple[str, ...]:
    """Return the fields of a product in the order in which a recipe reads them."""
    return contest.field_orders[recipe.field_order]


def compared_rows(tables: Tables, recipe: EncoderRecipe, fold: int | None) -> Sample:
    """Return the rows that an export is compared by: of the test split, where it has labels.

    Else they are the rows that the fold's model never saw, and of a model of all rows those that
    it learned from: two forms of one model differ on these as on others.
    """
    examples = tables.examples
    test = examples[examples["split"] == "test"]
    train = examples[examples["split"] == "train"]
    if len(test) and test["label"].notna().any():
        rows, where = test, "test rows"
    elif fold is not None:
        of_fold = tables.fold_of_training(recipe.scheme)
        held_out = train["example_id"].map(of_fold).to_numpy() == fold
        rows, where = train[held_out], f"training rows that fold {fold} held out"
    else:
        rows, where = train, "training rows"
    return _sample(tables, recipe, rows, ROWS, where)


def other_rows(tables: Tables, recipe: EncoderRecipe, compared: Sample) -> Sample:
    """Return training rows of queries that are not compared."""
    examples = tables.examples
    is_other = ~examples["query_id"].isin(compared.examples["query_id"])
    rows = examples[(examples["split"] == "train") & is_other]
    return _sample(tables, recipe, rows, FITTED, "training rows")


def _sample(
    tables: Tables, recipe: EncoderRecipe, rows: pd.DataFrame, count: int, where: str
) -> Sample:
    """Return the rows of whole queries, in an order that is a hash of their text, `count` or a few more."""
    sizes = rows.groupby("query_id").size()
    texts = rows.groupby("query_id")["query"].first()
    order = sorted(sizes.index, key=lambda query: derive_seed("export", texts[query], int(query)))
    before = sizes.loc[order].cumsum().shift(fill_value=0)
    chosen = before.index[before < count]

    examples = rows[rows["query_id"].isin(chosen)].sort_values("example_id", ignore_index=True)
    return Sample(examples, texts_of(tables, recipe, examples), where)


def texts_of(tables: Tables, recipe: EncoderRecipe, examples: pd.DataFrame) -> list[Pair]:
    """Return the texts of rows as a server is sent them."""
    fields = list(fields_of(recipe, tables.contest))
    described = examples[["query", "locale", "product_id"]].merge(
        tables.products[["locale", "product_id", *fields]], how="left", validate="many_to_one"
    )
    queries = [clean(query) for query in described["query"]]
    return list(zip(queries, served_documents(described, fields), strict=True))
