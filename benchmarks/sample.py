"""Make the sample of real judgments that the package ships: `competition/data/esci_sample/`.

    python -m benchmarks.sample SOURCE [TARGET]    SOURCE holds the released files, in layout A

It takes whole queries: full-depth lists, by which rankings are told apart, and queries with few
judged products in all three locales. A query keeps its split. Which queries are taken is a function
of their ids alone, and no text is changed, so the same source and the same pyarrow give the same
bytes.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from competition.core.atomic import atomic_file
from competition.core.fingerprint import derive_seed
from competition.data.esci import SAMPLE
from competition.data.esci_released import A_EXAMPLES, A_PRODUCTS

FULL_DEPTH = range(
    40, 49
)  # judged products of a full-depth query; longer lists would leave room for fewer of them
SHALLOW = range(1, 10)
# How many queries of each kind: five folds of two encoders must train and predict within three
# minutes on two cores.
QUERIES = {
    "train": {"full-depth": 48, "us": 80, "es": 100, "jp": 100},
    "test": {"full-depth": 16, "us": 40, "es": 40, "jp": 40},
}
_KEY = ["product_locale", "product_id"]


def choose(examples: pd.DataFrame) -> np.ndarray:
    """Return the query_ids of the sample, sorted.

    Args:
        examples: all rows of the source, with the columns of layout A.
    """
    queries = examples.groupby("query_id").agg(
        size=("example_id", "size"), split=("split", "first"), locale=("product_locale", "first")
    )
    queries["kind"] = queries["locale"].where(queries["size"].isin(SHALLOW))
    queries.loc[queries["size"].isin(FULL_DEPTH), "kind"] = "full-depth"
    queries["place"] = [derive_seed("sample", int(query)) for query in queries.index]
    queries = queries.sort_values("place")
    chosen = [
        queries.index[(queries["split"] == split) & (queries["kind"] == kind)][:count]
        for split, counts in QUERIES.items()
        for kind, count in counts.items()
    ]
    return np.sort(np.concatenate(chosen))


def sample(source: Path) -> dict[str, pa.Table]:
    """Return file name -> table of the sample: its examples by example_id, their products by locale and id."""
    examples, products = (pq.read_table(source / name) for name in (A_EXAMPLES, A_PRODUCTS))
    examples = examples.filter(
        np.isin(examples["query_id"].to_numpy(), choose(examples.to_pandas()))
    )
    wanted = pd.MultiIndex.from_frame(examples.select(_KEY).to_pandas())
    listed = pd.MultiIndex.from_frame(products.select(_KEY).to_pandas())
    products = products.filter(listed.isin(wanted))
    return {
        A_EXAMPLES: examples.sort_by("example_id"),
        A_PRODUCTS: products.sort_by([(column, "ascending") for column in _KEY]),
    }


def main(source: Path, target: Path) -> None:
    """Write the sample and print how large it is."""
    for name, table in sample(source).items():
        plain = table.replace_schema_metadata(
            None
        )  # what pandas notes of its version is no part of the data
        with atomic_file(target / name) as path:
            pq.write_table(plain, path, compression="zstd", compression_level=22)
        print(f"{target / name}: {plain.num_rows:,} rows, {(target / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SAMPLE)
