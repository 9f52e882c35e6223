"""The keys of models, audits and ensembles, and their fingerprints.

A key holds all that a result depends on and nothing else: settings, rows, and the fingerprints of
the results that it is made from. What is switched off is left out of the hash, so that a key which
came later makes nothing out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from competition.config.keys import AuditKeys
from competition.config.recipe import EnsembleRecipe, MemberRecipe
from competition.core.fingerprint import fingerprint
from competition.core.workspace import ALL_ROWS, SCHEMA
from competition.noise.plan import AuditPlan, NestedModels
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Kind

if TYPE_CHECKING:
    from competition.core.lazy import pd
    from competition.pipeline.tables import Tables

# The scheme that ensembles are cross-fitted over, and nested models leave out two folds of.
PAIRED = "five"

R = TypeVar("R", bound=MemberRecipe, covariant=True)


@dataclass(frozen=True)
class ModelKey:
    """All that the weights of one model depend on."""

    recipe: Mapping[str, Any]  # the keys that change results
    held: tuple[int, ...]  # the folds that it never sees
    train_rows: str
    artifacts: tuple[str, ...] = ()  # fingerprints of the encoder, the vocabulary, the vectors
    audit: str | None = None
    teacher: str | None = None
    added_rows: str | None = None  # of the file of translations

    def fingerprint(self) -> str:
        """Return the fingerprint, in which what is absent leaves no trace."""
        # One fold is hashed as a number: as a list of one it would make trained folds out of date.
        held = self.held[0] if len(self.held) == 1 else self.held
        optional = [self.audit, self.teacher, self.added_rows]
        present = [*self.artifacts, *(part for part in optional if part is not None)]
        return fingerprint([SCHEMA, self.recipe, held, self.train_rows, *present])


@dataclass(frozen=True)
class NoiseKey:
    """All that the flags of an audit depend on."""

    outputs: Sequence[str]  # fingerprints of the out-of-fold outputs that are audited
    keys: AuditKeys
    fold: int | None = None  # whose rows are not audited
    reviews: Sequence[str] = ()  # fingerprints of people's reviews

    def fingerprint(self) -> str:
        """Return the fingerprint, in which defaults leave no trace."""
        # One run is hashed as text, several as a list.
        outputs = self.outputs if len(self.outputs) > 1 else self.outputs[0]
        changed = self.keys.model_dump(exclude={"fraction"}, exclude_defaults=True)
        present: list[Any] = [changed] if changed else []
        present += [] if self.fold is None else [self.fold]

        return fingerprint([SCHEMA, "noise", outputs, self.keys.fraction, *present, *self.reviews])


@dataclass(frozen=True)
class EnsembleKey:
    """All that the out-of-fold outputs of an ensemble depend on."""

    recipe: Mapping[str, Any]
    task: str
    train_rows: str
    members: Sequence[tuple[str, str]]  # name and fingerprint of the outputs, nested ones behind

    def fingerprint(self) -> str:
        """Return the fingerprint."""
        return fingerprint([SCHEMA, self.recipe, self.task, self.train_rows, self.members])


@dataclass(frozen=True)
class TeacherPlan:
    """The run that a student learns from beside the labels, and its nested models that left out the scored fold."""

    run: RunPlan | None  # None where its outputs came with the unlabelled rows
    kind: Kind  # of its outputs
    pairs: NestedModels | None
    fingerprint: str
    # Of a student that is taught on unlabelled rows: returns the outputs of the models that may speak.
    predict_unlabelled: Callable[[Tables], pd.DataFrame] | None = None


@dataclass(frozen=True)
class FoldPlan(Generic[R]):
    """One model: of one fold, a nested one, which leaves out two folds, or that of all rows."""

    recipe: R
    scheme: str
    held: tuple[int, ...]  # the folds whose rows it never sees and predicts
    fingerprint: str  # of all that training depends on
    test_fingerprint: str  # the same with the test rows
    audit: AuditPlan | None  # whose flags change what training rows teach
    teacher: TeacherPlan | None

    @property
    def name(self) -> str:
        """The name: `3`, `0-3` of a nested model, `all` of one that holds out nothing."""
        return "-".join(map(str, self.held)) or ALL_ROWS

    @property
    def part(self) -> str:
        """The folder of its checkpoints, see `Workspace.checkpoints`."""
        return f"fold-{self.name}"


@dataclass(frozen=True)
class EnsemblePlan:
    """An ensemble for one task, and the complete runs that it combines."""

    recipe: EnsembleRecipe
    task: str
    run: RunPlan
    members: tuple[RunPlan, ...]
    pairs: Mapping[str, NestedModels]  # member -> its nested models, of an ensemble that is nested
    lexical: frozenset[str]  # the members that read text features alone
