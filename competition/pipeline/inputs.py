"""Where training starts from: encoders, pre-trained ones among them, vocabularies, vectors and translations.

For each, the folder or file that it lies in and the fingerprint of what it is made from, before
anything is made.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from competition.config import settings as config
from competition.config.recipe import AnyRecipe, EncoderRecipe, PretrainingRecipe, TrainingKeys
from competition.config.settings import Settings
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint, fingerprint_files
from competition.core.workspace import SCHEMA, Workspace
from competition.data.store import DataCard, load_card
from competition.models.encoder.paths import Sources
from competition.models.encoder.pooling import folder_pooling

TINY = "tiny"  # the encoder that is made here instead of being loaded
MINI = "mini"  # the encoder that comes with the package, see docs/mini.md
MINI_FOLDER = Path(__file__).parents[1] / "models" / "encoder" / MINI
OFFLINE = {
    TINY,
    MINI,
}  # names that mean these encoders, whatever folders and recipes a workspace has


class Origins:
    """What the recipes of one workspace start from."""

    def __init__(
        self, workspace: Workspace, recipes: Mapping[str, AnyRecipe] | None = None
    ) -> None:
        """`recipes` are known beside those of the files, and go before them."""
        self.workspace = workspace
        self._recipes = recipes or {}
        self.settings: Settings = config.load_settings(workspace)
        self.card: DataCard = load_card(workspace)

    @cache  # noqa: B019 - one Pipeline per command
    def _load(self, name: str) -> AnyRecipe:
        if name in self._recipes:
            return self._recipes[name]
        return config.load_recipe(self.workspace, self.settings, name)

    def pretraining(self, name: str) -> PretrainingRecipe:
        """The recipe called `name`, which pre-trains an encoder; raises InputError for any other."""
        if name in OFFLINE:
            raise InputError(
                f"{name!r} is an offline encoder's name: call the recipe that pre-trains otherwise."
            )
        recipe = self._load(name)
        if not isinstance(recipe, PretrainingRecipe):
            raise InputError(
                f'{name!r} pre-trains nothing: a recipe that does says `model = "pretraining"`.'
            )
        return recipe

    @cache  # noqa: B019
    def pretrained(self, encoder: str) -> PretrainingRecipe | None:
        """The recipe that an encoder is made by; None where it is loaded, or an offline one.

        Raises:
            InputError: the encoder is named like a recipe that does not pre-train, or it is made
                from itself.
        """
        recipes = {*self._recipes, *config.recipe_names(self.workspace)} - OFFLINE
        line: list[str] = []
        while encoder in recipes:
            if encoder in line:
                raise InputError(
                    f"The recipe {encoder!r} starts from its own encoder: {' <- '.join((*line, encoder))}."
                )
            line.append(encoder)
            encoder = self.pretraining(encoder).encoder
        return self.pretraining(line[0]) if line else None

    @cache  # noqa: B019
    def encoder_inputs(self, encoder: str) -> str:
        """What an encoder's folder is made from: the content of a local folder, the name of one on the hub."""
        recipe = self.pretrained(encoder)
        if recipe is not None:
            read = [self.card.train, self.card.test if recipe.test_copies else None]
            names = self.vocabulary_inputs if recipe.names else None
            return fingerprint(
                [SCHEMA, recipe.result_keys(), self.encoder_inputs(recipe.encoder), read, names]
            )
        source = self.encoder_source(encoder)
        if source == TINY:
            return fingerprint([SCHEMA, TINY, self.settings.seed, self.card.train])
        return _content(source)

    def encoder_source(self, encoder: str) -> str:
        """Return `tiny`, a folder, or a name on the model hub.

        Relative folders start at the workspace; `mini` is the folder inside the package, and
        `./mini` the workspace's.
        """
        if encoder == MINI:
            return str(MINI_FOLDER)
        return TINY if encoder == TINY else self._model_source("encoder", encoder)

    def _model_source(self, key: str, name: str) -> str:
        """A folder or a name on the model hub, as the recipe key `key` says it."""
        local = self.workspace.root / Path(name).expanduser()
        if name.startswith(("/", ".", "~")) and not local.is_dir():
            raise InputError(
                f"The {key} {name!r} is no folder: correct `{key}` in [overrides] or the recipe."
            )
        return str(local) if local.is_dir() else name

    @cache  # noqa: B019
    def translations(self, model: str) -> tuple[str, Path, str]:
        """Where a translation model is loaded from, the file of its translations, and what that is made from."""
        source = self._model_source("translate_with", model)
        content = _content(source)
        return source, self.workspace.translations(content), fingerprint([content, self.card.train])

    def encoder_folder(self, encoder: str) -> Path:
        """One folder per encoder: two that end in the same name differ in the hash of the whole."""
        if self.pretrained(encoder) is not None:
            return self.workspace.encoder(encoder)
        name = encoder if encoder in OFFLINE else f"{Path(encoder).name}-{fingerprint(encoder)[:8]}"
        return self.workspace.encoder(name)

    @property
    def vocabulary_inputs(self) -> str:
        """What the vocabulary is made from."""
        return fingerprint([SCHEMA, "vocabulary", self.card.train])

    @property
    def vectors_inputs(self) -> str:
        """What the vectors of 3-grams are made from."""
        return fingerprint([self.vocabulary_inputs, self.settings.seed])

    def sources(self, recipe: EncoderRecipe) -> Sources:
        """The folders that a recipe's models are built from."""
        learned = "char_trigrams" in recipe.features and recipe.char_trigrams_init != "random"
        return Sources(
            self.encoder_folder(recipe.encoder),
            self.workspace.vocabulary if recipe.features else None,
            self.workspace.gram_vectors if learned else None,
            self._learned_names(recipe, recipe.features),
        )

    def _learned_names(self, recipe: TrainingKeys, read: Iterable[str]) -> Path | None:
        """The folder that the brands and colors that a recipe reads start from."""
        pretrained = self.pretrained(recipe.encoder)
        if pretrained is None or not set(pretrained.names) & set(read):
            return None
        return self.encoder_folder(recipe.encoder)

    def pretraining_sources(self, recipe: PretrainingRecipe) -> Sources:
        """The folders that a pre-training starts from."""
        vocabulary = self.workspace.vocabulary if recipe.names else None
        return Sources(
            self.encoder_folder(recipe.encoder),
            vocabulary,
            names=self._learned_names(recipe, recipe.names),
        )


def folds_inputs(card: DataCard, scheme: str) -> str:
    """What a scheme's file of folds is made from."""
    return fingerprint([SCHEMA, "folds", scheme, card.train, card.test])


def text_features_inputs(card: DataCard) -> str:
    """What the features of text are made from."""
    return fingerprint([SCHEMA, "text features", card.all_rows])


def _content(source: str) -> str:
    """The fingerprint of a model: the content of a local folder, the name of one on the hub."""
    if not Path(source).is_dir():
        return fingerprint([SCHEMA, source])
    pooling = folder_pooling(Path(source))
    return fingerprint([SCHEMA, fingerprint_files(Path(source)), *([pooling] if pooling else [])])
