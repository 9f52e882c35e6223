"""Learners whose outputs `benchmarks/in_sample.py` tests: those that users hand in, and harder ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack, vstack

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.arrays import Array, Codes
from competition.core.console import progress
from competition.core.fingerprint import derive_seed
from competition.data.store import product_rows
from competition.models.encoder.model import RelevanceModel
from competition.pipeline.encoder_type import read_corpus
from competition.pipeline.steps import Pipeline
from competition.scoring.task import Kind
from competition.training.finetune import fine_tune
from competition.training.loop import Log, make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict

DIMENSIONS = 48  # of texts as vectors
EPOCHS = (1, 4)  # of the encoder: its outputs are taken after each of these
# Of the encoder, for few rows: a third of the time of the preset's 64 tokens, and steps that are large from the start.
TRAINING = {
    "architecture": "cross-encoder",
    "epochs": max(EPOCHS),
    "max_length": 32,
    "learning_rate": 3e-4,
    "warmup_steps": 10,
}


class Texts:
    """What learners read of the rows of a workspace."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Read the rows."""
        self.pipeline = pipeline
        self.examples = pipeline.tables.examples

    @cached_property
    def features(self) -> Array:
        """The features of `lexical`, `(rows, features)`."""
        table = self.pipeline.tables.lexical_features.loc[self.examples["example_id"]]
        return np.nan_to_num(table.to_numpy(np.float64))

    @cached_property
    def _pairs(self) -> tuple[list[str], list[str]]:
        tables = self.pipeline.tables
        title = tables.products[tables.contest.fields[0]].fillna("").astype(str)
        rows = product_rows(self.examples, tables.products)
        return self.examples["query"].astype(str).tolist(), title.iloc[rows].tolist()

    def words(self, fitted: Codes) -> tuple[csr_matrix, csr_matrix]:
        """Return TF-IDF of queries and titles, `(rows, words)`, of the words of some rows."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        query, title = self._pairs
        vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True)
        vectorizer.fit([f"{query[row]} {title[row]}" for row in fitted])
        return vectorizer.transform(query), vectorizer.transform(title)

    def word_pairs(self, fitted: Codes) -> csr_matrix:
        """Return the words of both, those that they share, and their cosine, `(rows, 3 words + 1)`."""
        query, title = self.words(fitted)
        shared = query.multiply(title)
        return csr_matrix(hstack([query, title, shared, csr_matrix(shared.sum(axis=1))]))

    def vectors(self, fitted: Codes) -> Array:
        """Return products and differences of both as vectors, and the title's, `(rows, 3 dimensions)`."""
        from sklearn.decomposition import TruncatedSVD

        words = self.words(fitted)
        svd = TruncatedSVD(DIMENSIONS, random_state=0).fit(vstack([each[fitted] for each in words]))
        query, title = (svd.transform(each) for each in words)
        return np.hstack([query * title, np.abs(query - title), title])


@dataclass(frozen=True)
class Learner:
    """A way to outputs.

    Attributes:
        hard: whether it is one that says wild things of rows that it has not seen.
        kind: of its outputs.
        fit: trains on some rows by a seed; returns the outputs of the rows at `shown` by name of the
            member, `(shown, outputs)` each.
    """

    hard: bool
    kind: str
    fit: Callable[[Codes, Codes, int], dict[str, Array]]


def learners(texts: Texts) -> Iterator[Learner]:
    """Yield all learners."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    def scaled(reads: Callable[[Codes], Array]) -> Callable[[Codes], Array]:
        def read(fitted: Codes) -> Array:
            values = reads(fitted)
            return np.asarray(StandardScaler().fit(values[fitted]).transform(values))

        return read

    def features(_: Codes) -> Array:
        return texts.features

    quiet: dict[str, Any] = {"verbose": -1, "n_jobs": 1}
    small = quiet | {"n_estimators": 50, "num_leaves": 15}
    large = quiet | {"n_estimators": 100, "num_leaves": 31}
    single = quiet | {"n_estimators": 1, "learning_rate": 1.0, "num_leaves": 200}
    single["min_child_samples"] = 2

    def forest(seed: int) -> Any:
        return RandomForestRegressor(15, max_features=0.2, random_state=seed)

    def network(seed: int, epochs: int, **options: Any) -> Any:
        return MLPRegressor(hidden_layer_sizes=(64,), max_iter=epochs, random_state=seed, **options)

    def classifier(seed: int) -> Any:
        return MLPClassifier(hidden_layer_sizes=(64,), max_iter=20, random_state=seed)

    standard = scaled(features)
    vectors = scaled(texts.vectors)
    made: list[tuple[bool, str, str, Any, Callable[[int], Any]]] = [
        (False, "trees", "gain", features, lambda s: LGBMRegressor(**small, random_state=s)),
        (False, "more trees", "classes", features, lambda s: LGBMClassifier(**large, random_state=s)),
        (False, "forest", "gain", features, forest),
        (False, "words, ridge", "gain", texts.word_pairs, lambda s: Ridge(1.0)),
        (False, "words, logistic", "classes", texts.word_pairs, lambda s: LogisticRegression(max_iter=200)),
        (False, "vectors, trees", "gain", texts.vectors, lambda s: LGBMRegressor(**large, random_state=s)),
        (False, "vectors, logistic", "classes", vectors, lambda s: LogisticRegression(max_iter=300)),
        (False, "vectors, network", "classes", vectors, classifier),
        (True, "one tree", "gain", features, lambda s: LGBMRegressor(**single, random_state=s)),
        (True, "1 neighbour", "gain", standard, lambda s: KNeighborsRegressor(1)),
        (True, "5 neighbours", "gain", standard, lambda s: KNeighborsRegressor(5)),
        (True, "features, ridge", "gain", standard, lambda s: Ridge(10.0)),
        (True, "features, network", "gain", standard, lambda s: network(s, 20)),
        (True, "network, long", "gain", standard, lambda s: network(s, 50)),
        (True, "network, early stop", "gain", standard, lambda s: network(s, 40, early_stopping=True)),
    ]  # fmt: skip
    for hard, name, kind, reads, make in made:
        yield Learner(hard, kind, _Estimator(texts, name, kind, reads, make))
    yield Learner(False, "classes", _Encoder(texts, "classes"))


@dataclass(frozen=True)
class _Estimator:
    """An estimator of scikit-learn's kind, and what it reads."""

    texts: Texts
    name: str
    kind: str
    reads: Callable[[Codes], Any]
    make: Callable[[int], Any]

    def __call__(self, rows: Codes, shown: Codes, seed: int) -> dict[str, Array]:
        kind = self.texts.pipeline.plan.contest.kind(self.kind)
        inputs = self.reads(rows)
        target = kind.numeric_target(self.texts.examples.iloc[rows])
        if not kind.is_classes:
            model = self.make(seed).fit(inputs[rows], target)
            return {self.name: np.asarray(model.predict(inputs[shown]), np.float64)[:, None]}

        model = self.make(seed).fit(inputs[rows], target.astype(np.int64))
        outputs = np.zeros((len(shown), kind.targets))
        outputs[:, model.classes_] = model.predict_proba(inputs[shown])
        return {self.name: outputs}


@dataclass(frozen=True)
class _Encoder:
    """The encoder of the workspace's preset as a cross-encoder, fine-tuned on plain rows as `b1` is."""

    texts: Texts
    kind: str

    def __call__(self, rows: Codes, shown: Codes, seed: int) -> dict[str, Array]:
        pipeline = self.texts.pipeline
        plan = pipeline.plan
        recipe = pipeline.recipes.run("b1")
        assert isinstance(recipe, EncoderRecipe)
        recipe = recipe.model_copy(update={"kind": self.kind, **TRAINING})
        kind = plan.contest.kind(self.kind)

        corpus = read_corpus(pipeline.tables, plan, recipe)
        unseen = np.setdiff1d(np.arange(len(self.texts.examples)), rows)
        sample = corpus.sample(recipe, kind, rows, unseen)
        accelerator = make_accelerator(recipe.precision, recipe.deterministic)
        sources = plan.artifacts.sources(recipe)
        model = RelevanceModel.make(recipe, kind, sources, derive_seed(seed, "head"))

        outputs: dict[str, Array] = {}
        budget = Budget(recipe.token_budget)

        def after_epoch(epoch: int, model: RelevanceModel) -> None:
            if epoch + 1 in EPOCHS:
                table = predict(accelerator, model, corpus.pairs, shown, budget)
                name = f"encoder, epoch {epoch + 1}"
                outputs[name] = _in_order(table, self.texts.examples.iloc[shown], kind)

        with (
            TemporaryDirectory() as folder,
            progress("encoder", recipe.epochs * len(rows), "rows") as bar,
        ):
            log = Log(Path(folder) / "log.jsonl")
            fine_tune(accelerator, model, recipe, sample, seed, bar, log, after_epoch)
        return outputs


def _in_order(table: Any, examples: Any, kind: Kind) -> Array:
    """Return a table of outputs in the order of examples, `(rows, outputs)`."""
    return kind.values(table.set_index("example_id").loc[examples["example_id"]])
