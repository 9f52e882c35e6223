"""What the rules know of one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from competition.analysis.diagnoses.training_log import Training
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import EnsembleRecipe, RunRecipe
from competition.pipeline.recipes import TINY


@dataclass(frozen=True)
class RunFacts:
    """A run that competition.toml asks for.

    Attributes:
        name: of the run.
        tasks: that it answers.
        command: that makes it.
        recipe: of it.
        members: of an ensemble, for its task.
        card: the content of `run.json`; empty where the run is missing or out of date.
        unfinished: the steps of it that are not done, with their states.
        trainings: what its log says.
        pretrained: whether its encoder has read the catalogue.
        less_is_better: whether the score that its training watches is an error.
    """

    name: str
    tasks: tuple[str, ...]
    command: str
    recipe: RunRecipe
    members: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    unfinished: Mapping[str, str] = field(default_factory=dict)
    trainings: tuple[Training, ...] = ()
    pretrained: bool = False
    less_is_better: bool = False

    @property
    def is_ensemble(self) -> bool:
        """True for an ensemble."""
        return isinstance(self.recipe, EnsembleRecipe)

    @property
    def encoder(self) -> EncoderRecipe | None:
        """The recipe, where it trains a neural network."""
        return self.recipe if isinstance(self.recipe, EncoderRecipe) else None

    @property
    def training_seconds(self) -> float | None:
        """The time that the steps of its last trainings took, by the log's own rate; None where it has none."""
        recipe, known = self.encoder, [each for each in self.trainings if each.rows_per_second]
        if recipe is None or not known:
            return None
        return sum(each.steps * recipe.batch_size / each.rows_per_second for each in known)

    @property
    def starts_random(self) -> bool:
        """True where its encoder has random weights."""
        return self.encoder is not None and self.encoder.encoder == TINY
