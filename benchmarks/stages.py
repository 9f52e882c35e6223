"""The line from raw files to scores, stage by stage, at growing sizes up to that of the whole data set.

    python -m benchmarks.stages [rows ...]

The queries come from the built-in catalogue, twenty products each; a third of the products are
judged for two queries and texts are as long as ESCI's, filled with made-up words of which few are
frequent: about 1,200 characters a product. Outputs of models are made up. Each stage runs in a
process of its own, so that the peak of its memory is its own; the last column is the exponent of
growth between the smallest and the largest size.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.growth import ONE, exponent, measured, peak
from competition.config.base_recipe import SCHEMES
from competition.config.keys import AuditKeys
from competition.core.workspace import Workspace
from competition.data import describe, esci, store, synthetic
from competition.data.pairs import Pairs, views
from competition.data.token_store import StoredSequences
from competition.models.encoder.encoder import TINY_PRODUCTS, load_tokenizer, train_tokenizer
from competition.models.ensemble.members import MemberOutputs
from competition.models.ensemble.meta_features import tree_features
from competition.noise.audit import audit_labels
from competition.pipeline.artifacts import folds_fingerprint
from competition.pipeline.build_inputs import (
    build_folds,
    build_vocabulary,
    encoder_tokens,
    product_grams,
)
from competition.pipeline.tables import Tables
from competition.scoring import evaluation
from tests.esci import CONTEST, KINDS, LABEL_LETTERS, LABELS, TASKS, label_codes

SIZES = (100_000, 400_000, 1_600_000, 2_620_000)
LIMITED = ("import", "folds", "tokens")  # together within half an hour and 10 GiB at full size
DEPTH = 20  # products per query, as in ESCI
PRODUCTS = 0.69  # per row, as in ESCI
WORDS = {
    "title": 10,
    "bullets": 90,
    "description": 120,
}  # that are added where the text is not missing, on average
VOCABULARY = 200_000  # made-up words
_SYLLABLES = (
    "ba",
    "con",
    "di",
    "fo",
    "gar",
    "li",
    "mon",
    "na",
    "ro",
    "sa",
    "ter",
    "ve",
    "xi",
    "able",
    "ing",
    "pre",
    "str",
)
_COLUMNS = {"title": "product_title", "brand": "product_brand", "color": "product_color",
            "bullets": "product_bullet_point", "description": "product_description"}  # fmt: skip


# --- raw files
# ---------------------------------------------------------------------------------------------------


def share_products(
    examples: pd.DataFrame, products: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fewer products than rows: the last rows of each locale are of the products of its first rows."""
    of_locale = examples.groupby("locale")
    number, size = of_locale.cumcount().to_numpy(), of_locale["locale"].transform("size").to_numpy()
    kept = np.ceil(size * PRODUCTS).astype(np.int64)
    row = examples.assign(number=number % kept).set_index(["locale", "number"])
    first = row[number < kept]["product_id"]
    return examples.assign(product_id=first.loc[row.index].to_numpy()), products[number < kept]


def made_up_words(rng: np.random.Generator) -> Callable[[int, int], pa.Array]:
    """Texts of so many words on average; a word is the rarer the later it stands in the vocabulary."""
    spelled = ["".join(rng.choice(_SYLLABLES, n)) for n in rng.integers(1, 5, VOCABULARY)]
    words = pa.array(spelled)

    def draw(texts: int, mean: int) -> pa.Array:
        counts = rng.poisson(mean, texts)
        chosen = (VOCABULARY ** rng.random(counts.sum())).astype(np.int64) - 1
        offsets = np.append(0, np.cumsum(counts))
        return pc.binary_join(
            pa.LargeListArray.from_arrays(offsets, words.take(pa.array(chosen))), " "
        )

    return draw


def write_raw(folder: Path, rows: int) -> None:
    """Both files of layout A."""
    examples, products, _ = synthetic.make(rows // DEPTH, noise=0.05, seed=1, depth=DEPTH)
    examples, products = share_products(examples, products)
    letters = {label: letter for letter, label in LABEL_LETTERS.items()}
    columns = {"product_locale": examples["locale"], "esci_label": examples["label"].map(letters)}
    columns |= {
        "small_version": examples["task1"].astype(int),
        "large_version": examples["task2"].astype(int),
    }
    named = ["example_id", "query", "query_id", "product_id", "split"]
    examples[named].assign(**columns).to_parquet(
        folder / "shopping_queries_dataset_examples.parquet", index=False
    )
    draw = made_up_words(np.random.default_rng(0))
    schema = pa.schema(
        [(name, pa.string()) for name in ("product_id", "product_locale", *_COLUMNS.values())]
    )
    with pq.ParquetWriter(folder / "shopping_queries_dataset_products.parquet", schema) as writer:
        for start in range(0, len(products), 50_000):
            part = products.iloc[start : start + 50_000]
            table = {"product_id": part["product_id"], "product_locale": part["locale"]}
            for field, column in _COLUMNS.items():
                text = pa.array(part[field], pa.large_string())
                if field in WORDS:
                    text = pc.binary_join_element_wise(
                        text,
                        draw(len(part), WORDS[field]).cast(text.type),
                        pa.scalar(" ", text.type),
                    )
                table[column] = pc.if_else(pc.equal(pa.array(part[field]), ""), None, text)
            writer.write_table(pa.table(table).cast(schema))


# --- stages
# ------------------------------------------------------------------------------------------------------


def synth(root: Path, rows: int) -> None:
    """What `comp data synth` does."""
    store.save(
        Workspace(root / "synth"),
        CONTEST,
        *synthetic.make(rows // DEPTH, 0.05, 1, depth=DEPTH)[:2],
        "synth",
    )


def bring(root: Path, rows: int) -> None:
    """What `comp data import` does."""
    space = Workspace(root)
    store.save(space, CONTEST, *esci.read(root / "raw"), "raw")
    describe.describe(CONTEST, store.load_examples(space), store.load_products(space))


def folds(root: Path, rows: int) -> None:
    """Both schemes."""
    tables = Tables(Workspace(root), CONTEST)
    for scheme in SCHEMES:
        build_folds(tables, scheme, folds_fingerprint(tables.card, scheme, CONTEST))


def tokenizer(root: Path, rows: int) -> None:
    """The offline encoder's, which is trained on a bounded number of products."""
    tables, folder = Tables(Workspace(root), CONTEST), Workspace(root).encoder("tiny")
    train_tokenizer(tables.some_training_products(TINY_PRODUCTS)).save_pretrained(folder)


def tokens(root: Path, rows: int) -> None:
    """The token ids of all texts, by all cores."""
    encoder_tokens(Tables(Workspace(root), CONTEST), Workspace(root).encoder("tiny"))


def again(root: Path, rows: int) -> None:
    """The pairs of a second recipe, which is to find all of them."""
    tables, folder = Tables(Workspace(root), CONTEST), Workspace(root).encoder("tiny")
    stored = StoredSequences(encoder_tokens(tables, folder))
    pairs = Pairs.make(
        _Refusing(folder),
        tables.examples,
        tables.products,
        views("cross-encoder", "ptdbbc", CONTEST),
        256,
        stored=stored,
    )
    pairs.lengths()


def vocabulary(root: Path, rows: int) -> None:
    """Brands, colors and 3-grams."""
    build_vocabulary(Tables(Workspace(root), CONTEST), "bench")


def grams(root: Path, rows: int) -> None:
    """The ids of the 3-grams of all products."""
    product_grams(Tables(Workspace(root), CONTEST), Workspace(root).vocabulary)


def metrics(root: Path, rows: int) -> None:
    """NDCG and F1 with their intervals, of all tasks and groups, from made-up outputs."""
    examples, outputs = _outputs(root)
    for task in TASKS.values():
        evaluation.estimate_metrics(
            evaluation.count_outputs(task, KINDS["classes"], outputs, examples)
        )


def label_audit(root: Path, rows: int) -> None:
    """Confident learning on them."""
    examples, outputs = _outputs(root)
    fold = pd.Series(examples["query_id"].to_numpy() % 5, index=examples["example_id"])
    audit_labels([outputs], KINDS["classes"], examples, fold, AuditKeys())


def level2(root: Path, rows: int) -> None:
    """What trees read of six models for task 1."""
    examples, outputs = _outputs(root)
    kind = KINDS["classes"]
    seen = [MemberOutputs(f"c{i}", kind, kind.values(outputs)) for i in range(6)]
    tree_features(TASKS["task1"], seen, examples, None)


STAGES = {
    "synth": synth,
    "import": bring,
    "folds": folds,
    "tokenizer": tokenizer,
    "tokens": tokens,
    "again": again,
    "vocabulary": vocabulary,
    "3-grams": grams,
    "metrics": metrics,
    "audit": label_audit,
    "level 2": level2,
}


class _Refusing:
    """A tokenizer that refuses to tokenise."""

    def __init__(self, folder: Path) -> None:
        known = load_tokenizer(folder)
        for name in ("cls_token_id", "sep_token_id", "pad_token_id"):
            setattr(self, name, getattr(known, name))

    def __call__(self, *texts: object, **options: object) -> None:
        raise RuntimeError("a second recipe tokenised something")


def _outputs(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training rows, and probabilities of the four classes that know a part of the truth."""
    examples = store.load_examples(Workspace(root))
    examples = examples[examples["split"] == "train"].reset_index(drop=True)
    rng = np.random.default_rng(0)
    logits = 2.0 * np.eye(len(LABELS))[label_codes(examples["label"])] + rng.normal(
        0, 1.5, (len(examples), len(LABELS))
    )
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    outputs = pd.DataFrame(share, columns=list(KINDS["classes"].outputs))
    outputs.insert(0, "example_id", examples["example_id"])
    return examples, outputs


# --- measuring
# ---------------------------------------------------------------------------------------------------


def measure(stage: str, root: Path, rows: int) -> None:
    """Print the seconds of a stage and its peak memory in GiB."""
    start = time.perf_counter()
    STAGES[stage](root, rows)
    seconds = time.perf_counter() - start
    print(seconds, peak())


def run(root: Path, rows: int) -> dict[str, tuple[float, float]]:
    """Stage -> seconds and GiB, each in a process of its own."""
    (root / "raw").mkdir()
    measured("stages", "raw", root, rows)
    found = {}
    for stage in STAGES:
        seconds, most = measured("stages", stage, root, rows)
        found[stage] = seconds, most
        print(f"{rows:,} {stage}: {seconds:.1f} s, {most:.2f} GiB", file=sys.stderr, flush=True)
    return found


def main(sizes: tuple[int, ...]) -> None:
    """Measure each size and print a table."""
    print(f"{os.cpu_count()} cores; seconds and peak GiB of each stage")
    found = {}
    for rows in sizes:
        with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            found[rows] = run(Path(folder), rows)
    print("| stage |" + "".join(f" {rows:,} |" for rows in sizes) + " exponent |")
    print("|---" * (len(sizes) + 2) + "|")
    for stage in STAGES:
        cells = "".join(
            f" {seconds:.1f} s, {most:.2f} |"
            for seconds, most in (found[rows][stage] for rows in sizes)
        )
        print(
            f"| {stage} |{cells} {exponent([found[rows][stage][0] for rows in sizes], sizes):.2f} |"
        )
    totals = [sum(found[rows][stage][0] for stage in LIMITED) for rows in sizes]
    peaks = [max(found[rows][stage][1] for stage in LIMITED) for rows in sizes]
    cells = "".join(
        f" {seconds:.1f} s, {most:.2f} |" for seconds, most in zip(totals, peaks, strict=True)
    )
    print(f"| {' + '.join(LIMITED)} |{cells} {exponent(totals, sizes):.2f} |")


if __name__ == "__main__":
    if sys.argv[1:3] == [ONE, "raw"]:
        write_raw(Path(sys.argv[3]) / "raw", int(sys.argv[4]))
    elif sys.argv[1:2] == [ONE]:
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
