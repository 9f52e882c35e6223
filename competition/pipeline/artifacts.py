"""The artifacts that training starts from beside the rows, their folders and their fingerprints.

They are encoders, vocabularies, vectors, translations and features of text. A fingerprint is that
of what an artifact is made from, and known before anything is made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from competition.config.base_recipe import TrainingKeys
from competition.config.encoder_recipe import NEW_HEAD, EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.commands import shell_quoted
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint, fingerprint_files
from competition.core.parquet import read_fingerprint
from competition.core.workspace import SCHEMA, Workspace
from competition.data.store import DataCard
from competition.models.encoder.paths import Sources
from competition.models.encoder.pooling import folder_pooling
from competition.pipeline.recipes import MINI, OFFLINE, TINY, Recipes
from competition.scoring.contest import Contest

MINI_FOLDER = Path(__file__).parents[1] / "models" / "encoder" / MINI


@dataclass(frozen=True)
class Translations:
    """The file of the translations of one model."""

    source: str  # of the model: a folder, or a name on the model hub
    path: Path
    fingerprint: str


class Artifacts:
    """The artifacts that the recipes of one workspace start from."""

    def __init__(self, workspace: Workspace, card: DataCard, recipes: Recipes, seed: int) -> None:
        """Know where artifacts lie; `seed` is that of competition.toml."""
        self._workspace = workspace
        self._card = card
        self._recipes = recipes
        self._seed = seed

    @cache  # noqa: B019 - one Plan per command
    def encoder_fingerprint(self, encoder: str) -> str:
        """Return the fingerprint of an encoder's folder."""
        recipe = self._recipes.pretrained(encoder)
        if recipe is not None:
            start = self.encoder_fingerprint(recipe.encoder)
            rows = [self._card.train, self._card.test if recipe.test_copies else None]
            names = self.vocabulary_fingerprint if self._learned(recipe) else None
            return fingerprint([SCHEMA, recipe.result_keys(), start, rows, names])

        source = self.encoder_source(encoder)
        if source == TINY:
            return fingerprint([SCHEMA, TINY, self._seed, self._card.train])
        return _content(source)

    def encoder_source(self, encoder: str) -> str:
        """Return `tiny`, a folder, or a name on the model hub.

        Relative folders start at the workspace; `mini` is the folder inside the package, and
        `./mini` the workspace's.
        """
        if encoder == MINI:
            return str(MINI_FOLDER)
        return TINY if encoder == TINY else self.model_source("encoder", encoder)

    def model_source(self, key: str, name: str, recipe: str = "") -> str:
        """Return a folder or a name on the model hub; `key` and the name of the `recipe` are for messages."""
        # Joining with an absolute path gives that path.
        local = self._workspace.paths_from / Path(name).expanduser()
        # What begins with the workspace's folder of models is no name on the hub, either.
        is_path = name.startswith(("/", ".", "~", f"{self._workspace.models.name}/"))
        if is_path and not local.is_dir():
            of_recipe = f" of the recipe {recipe!r}" if recipe else ""
            raise InputError(
                f"The {key} {name!r}{of_recipe} is not a folder: correct `{key}` in [overrides] or the recipe."
            )

        return str(local) if local.is_dir() else name

    def member_fingerprint(self, name: str) -> str:
        """Return the fingerprint of outputs that another tool made; raises InputError where they are not there."""
        path = self._workspace.member(name)
        content = read_fingerprint(path)
        if content is None:
            raise InputError(
                f"{path} is missing or damaged: bring it again with `comp member add {shell_quoted(name)} FILE`."
            )
        return content

    def unlabelled_fingerprint(self) -> str:
        """Return the fingerprint of the unlabelled rows; raises InputError where there are none."""
        content = read_fingerprint(self._workspace.unlabelled)
        if content is None:
            raise InputError(
                f"{self._workspace.unlabelled} is missing or damaged: `comp data import-unlabelled FILE` brings "
                "unlabelled rows."
            )
        return content

    @cache  # noqa: B019
    def translations(self, model: str) -> Translations:
        """Return the translations of Spanish training text by a model."""
        source = self.model_source("translate_with", model)
        content = _content(source)
        path = self._workspace.translations(content)
        return Translations(source, path, fingerprint([content, self._card.train]))

    def encoder_folder(self, encoder: str, head: str = NEW_HEAD) -> Path:
        """Return the folder of an encoder; with another `head` than a new one, that of encoder and head.

        Raises:
            InputError: the encoder is made here, without a head.
        """
        if head != NEW_HEAD:
            if encoder in OFFLINE or self._recipes.pretrained(encoder) is not None:
                raise InputError(
                    f"The encoder {encoder!r} has no trained head, which head = {head!r} asks for: name "
                    "a reranker in `encoder`."
                )
            return self._workspace.encoder(
                f"{Path(encoder).name}-{fingerprint(encoder)[:8]}-{head}"
            )
        if self._recipes.pretrained(encoder) is not None:
            return self._workspace.encoder(encoder)

        # Two encoders that end in the same name differ in the hash of the whole.
        name = encoder if encoder in OFFLINE else f"{Path(encoder).name}-{fingerprint(encoder)[:8]}"
        return self._workspace.encoder(name)

    @property
    def vocabulary_fingerprint(self) -> str:
        """The fingerprint of the vocabulary."""
        return fingerprint([SCHEMA, "vocabulary", self._card.train])

    @property
    def vectors_fingerprint(self) -> str:
        """The fingerprint of the vectors of 3-grams."""
        return fingerprint([self.vocabulary_fingerprint, self._seed])

    def sources(self, recipe: EncoderRecipe) -> Sources:
        """Return the folders that a recipe's models are built from."""
        learned = "char_trigrams" in recipe.features and recipe.char_trigrams_init != "random"
        return Sources(
            self.encoder_folder(recipe.encoder, recipe.head),
            self._workspace.vocabulary if recipe.features else None,
            self._workspace.gram_vectors if learned else None,
            self._learned_names(recipe, recipe.features),
            len(self._recipes.contest.locale_names),
        )

    def _learned_names(self, recipe: TrainingKeys, read: Iterable[str]) -> Path | None:
        """Return the folder that a recipe's categories start from, if there is one."""
        pretrained = self._recipes.pretrained(recipe.encoder)
        if pretrained is None or not set(self._learned(pretrained)) & set(read):
            return None

        return self.encoder_folder(recipe.encoder)

    def pretraining_sources(self, recipe: PretrainingRecipe) -> Sources:
        """Return the folders that a pre-training starts from."""
        encoder = self.encoder_folder(recipe.encoder)
        learned = self._learned(recipe)
        vocabulary = self._workspace.vocabulary if learned else None
        return Sources(encoder, vocabulary, names=self._learned_names(recipe, learned))

    def _learned(self, recipe: PretrainingRecipe) -> list[str]:
        """Return the categories whose names a pre-training learns."""
        return list(recipe.learned_categories(self._recipes.contest.categories))


def folds_fingerprint(card: DataCard, scheme: str, contest: Contest) -> str:
    """Return the fingerprint of a scheme's file of folds."""
    dealt = [] if contest.has_queries_apart else [contest.folds]
    return fingerprint([SCHEMA, "folds", scheme, card.train, card.test, *dealt])


def text_features_fingerprint(card: DataCard) -> str:
    """Return the fingerprint of the features of text."""
    return fingerprint([SCHEMA, "text features", card.all_rows])


def _content(source: str) -> str:
    """Return the fingerprint of a local folder's content, or of the name of a model on the hub."""
    folder = Path(source)
    if not folder.is_dir():
        return fingerprint([SCHEMA, source])

    # The card of the pooling lies in a subfolder, which the hash of the files leaves out.
    pooling = folder_pooling(folder)
    return fingerprint([SCHEMA, fingerprint_files(folder), *([pooling] if pooling else [])])
