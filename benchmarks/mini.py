"""Make `mini`, the small encoder of English, Spanish and Japanese that comes with the package.

    python -m benchmarks.mini TEACHER SOURCE OUT [--construction static] [--layers 3] [--pieces
    10000] [--epochs 5]

TEACHER is multilingual-e5-small, a folder or a name on the model hub; SOURCE holds the ESCI files.
The student learns to see made-up queries and the products of training rows as the teacher does. No
label, no real query and no product of test rows is read for that; labels only grade the folder that
was written. The same input gives the same bytes at equal thread counts. docs/mini.md says more.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.mini_texts import prune
from benchmarks.mini_training import (
    CONSTRUCTIONS,
    LENGTH,
    Lists,
    Student,
    Teacher,
    construct,
    distil,
    embed_all,
    keep_positions,
    unit,
)
from competition.core.atomic import atomic_folder
from competition.core.errors import CompError
from competition.core.workspace import Workspace
from competition.data import esci, store
from competition.data.pairs import Pairs, views
from competition.data.text import clean_all
from competition.models.encoder.encoder import load_encoder, load_tokenizer, save
from competition.scoring import evaluation
from competition.scoring.evaluation import DEEP, FULL_DEPTH
from competition.scoring.intervals import Estimate
from tests.esci import CONTEST, FIELDS, KINDS, TASKS

PRODUCTS = (
    20_000  # that are read at most, evenly spaced: bounded in time where SOURCE is all of ESCI
)


def grade(folder: Path, examples: pd.DataFrame, products: pd.DataFrame) -> dict[str, Estimate]:
    """Return split -> nDCG of full-depth lists that are ranked by the cosine of query and product, without training.

    A split without such a list is left out.
    """
    depth = examples.groupby("query_id")["example_id"].transform("size")
    deep = examples[depth >= FULL_DEPTH]
    encoder, tokenizer = load_encoder(folder).eval(), load_tokenizer(folder)
    pairs = Pairs.make(tokenizer, deep, products, views("bi-encoder", "ptbcbd", CONTEST), LENGTH)
    query, product = (
        unit(
            embed_all(
                encoder,
                pairs.special,
                [pairs.ids(row, view)[0] for row in range(len(pairs))],
                "grade",
            )
        )
        for view in pairs.views
    )
    outputs = pd.DataFrame({"example_id": pairs.example_id, "score": (query * product).sum(1)})
    counts = {
        str(split): evaluation.count_outputs(TASKS["task1"], KINDS["score"], outputs, rows)
        for split, rows in deep.groupby("split")
    }
    return {
        split: evaluation.estimate_score(each, DEEP)
        for split, each in counts.items()
        if each.groups[DEEP].any()
    }


def read(source: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the checked examples and products of a folder of ESCI files; raises InputError as `comp data import`."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        store.save(workspace, CONTEST, *esci.read(source), str(source))
        return store.load_examples(workspace), store.load_products(workspace)


def make(asked: argparse.Namespace) -> None:
    """Write the folder and print one row of a table of constructions."""
    examples, products = read(asked.source)
    train = store.evenly_spaced(store.training_products(examples, products), PRODUCTS).reset_index(
        drop=True
    )
    for field in FIELDS:
        train[field] = clean_all(train[field])
    teacher = Teacher(asked.teacher)
    tokenizer, kept = prune(
        teacher.tokenizer, [text for field in FIELDS for text in train[field]], asked.pieces
    )
    encoder = construct(asked.construction, teacher, kept, asked.width, asked.layers)
    distil(Student(encoder, tokenizer, Lists.make(teacher, train, asked.queries)), asked.epochs)
    keep_positions(encoder)
    with atomic_folder(asked.out) as temporary:
        save(temporary, tokenizer, encoder.half())

    shape = (
        f"{asked.construction} | {encoder.config.hidden_size} x {asked.layers} | {len(tokenizer):,}"
    )
    size = (asked.out / "model.safetensors").stat().st_size / 1e6
    graded = grade(asked.out, examples, products)
    print(
        "| construction | width x layers | pieces | MB | nDCG of training lists [95 %] | of test lists |"
    )
    print("|---|---|---|---|---|---|")
    print(f"| {shape} | {size:.1f} | {graded.get('train', '')} | {graded.get('test', '')} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the encoder that the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--construction", choices=CONSTRUCTIONS, default="static")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--pieces", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=24_000)
    parser.add_argument("--epochs", type=float, default=5.0)
    asked = parser.parse_args(arguments)
    try:
        make(asked)
    except CompError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
