"""The steps that build what training starts from beside the rows, see `build_inputs`."""

from __future__ import annotations

from functools import cache, partial

from competition.config.encoder_recipe import NEW_HEAD
from competition.core.json_files import read_manifest
from competition.core.parquet import read_fingerprint
from competition.models.encoder.paths import Sources
from competition.pipeline import build_inputs
from competition.pipeline.artifacts import folds_fingerprint, text_features_fingerprint
from competition.pipeline.execute import Step
from competition.pipeline.plan import Plan
from competition.pipeline.tables import Tables


class InputSteps:
    """The steps that need no run, each made once."""

    def __init__(self, plan: Plan, tables: Tables) -> None:
        """Build by a plan, from the tables of its workspace."""
        self._plan = plan
        self._tables = tables

    @cache  # noqa: B019 - one InputSteps per command
    def folds(self, scheme: str) -> Step:
        """Return the step of `folds/<scheme>.parquet`."""
        inputs = folds_fingerprint(self._plan.card, scheme, self._plan.contest)
        path = self._plan.workspace.folds(scheme)
        return Step(
            f"folds {scheme}",
            inputs,
            needs=(),
            recorded=partial(read_fingerprint, path),
            build=partial(build_inputs.build_folds, self._tables, scheme, inputs),
            files=(path,),
        )

    @cache  # noqa: B019
    def text_features(self) -> Step:
        """Return the step of `data/text_features.parquet`, which the lexical baseline and the stackers read."""
        inputs = text_features_fingerprint(self._plan.card)
        path = self._plan.workspace.text_features
        return Step(
            "text features",
            inputs,
            needs=(),
            recorded=partial(read_fingerprint, path),
            build=partial(build_inputs.build_text_features, self._tables, inputs),
            files=(path,),
        )

    def encoder(self, encoder: str, head: str = NEW_HEAD) -> list[Step]:
        """Return the steps of an encoder's folder under `models/encoders/`, behind what it is pre-trained from.

        With another `head` than a new one, the folder holds that head, too.
        """
        step = self._encoder_step(encoder, head)
        return [*step.needs, step]

    @cache  # noqa: B019
    def _encoder_step(self, encoder: str, head: str) -> Step:
        folder = self._plan.artifacts.encoder_folder(encoder, head)
        inputs = self._plan.artifacts.encoder_fingerprint(encoder)
        recorded = partial(read_manifest, folder)

        # No recipe makes it: it is loaded, or made from the rows alone.
        recipe = self._plan.recipes.pretrained(encoder)
        if recipe is None:
            source = self._plan.artifacts.encoder_source(encoder)
            seed = self._plan.settings.seed
            build = partial(
                build_inputs.build_encoder, self._tables, source, folder, inputs, seed, head
            )
            name = f"encoder {encoder}" + ("" if head == NEW_HEAD else f" with its {head} head")
            return Step(name, inputs, (), recorded, build, files=(folder,))

        needs = self.encoder(recipe.encoder)
        needs += self.features(self._plan.artifacts.pretraining_sources(recipe))
        return Step(
            f"pretrain {encoder}",
            inputs,
            tuple(needs),
            recorded,
            partial(build_inputs.build_pretrained, self._tables, self._plan, recipe),
            shared=True,
            checkpoints=self._plan.workspace.checkpoints(recipe.name, "encoder"),
            files=(folder,),
        )

    def features(self, sources: Sources) -> list[Step]:
        """Return the steps of `data/vocabulary/` and `data/char3/`, as far as they are read."""
        steps = [self._vocabulary_step()] if sources.vocabulary is not None else []
        steps += [self._vectors_step()] if sources.vectors is not None else []
        return steps

    @cache  # noqa: B019
    def _vocabulary_step(self) -> Step:
        inputs = self._plan.artifacts.vocabulary_fingerprint
        folder = self._plan.workspace.vocabulary
        return Step(
            "vocabulary",
            inputs,
            needs=(),
            recorded=partial(read_manifest, folder),
            build=partial(build_inputs.build_vocabulary, self._tables, inputs),
            files=(folder,),
        )

    @cache  # noqa: B019
    def _vectors_step(self) -> Step:
        inputs = self._plan.artifacts.vectors_fingerprint
        seed = self._plan.settings.seed
        folder = self._plan.workspace.gram_vectors
        return Step(
            "char3",
            inputs,
            needs=(self._vocabulary_step(),),
            recorded=partial(read_manifest, folder),
            build=partial(build_inputs.build_gram_vectors, self._tables, inputs, seed),
            files=(folder,),
        )

    @cache  # noqa: B019
    def translations(self, model: str) -> Step:
        """Return the step of `data/translations/MODEL.parquet`."""
        file = self._plan.artifacts.translations(model)
        return Step(
            f"translate with {model}",
            file.fingerprint,
            needs=(),
            recorded=partial(read_fingerprint, file.path),
            build=partial(build_inputs.build_translations, self._tables, file),
            files=(file.path,),
        )
