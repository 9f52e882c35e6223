"""What one model, one audit, is made from: the answers of `pipeline/plan.py`."""

from dataclasses import dataclass
from pathlib import Path

from competition.core.workspace import ALL_ROWS
from competition.models.encoder.paths import Sources
from competition.noise.plan import AuditPlan, NestedModels
from competition.scoring.predictions import RunPlan

PAIRED = "five"  # the scheme that ensembles are cross-fitted over, and nested models leave out two folds of


@dataclass(frozen=True)
class TeacherPlan:
    """The run that a student learns from beside the labels, and its nested models that left out the scored fold."""

    run: RunPlan
    pairs: NestedModels | None
    inputs: str


@dataclass(frozen=True)
class FoldPlan:
    """What the model of one fold is made from, a nested one, which leaves out two folds, or that of all rows."""

    scheme: str
    held: tuple[int, ...]  # the folds whose rows it never sees and predicts
    inputs: str  # fingerprint of all that training depends on
    test_inputs: str  # the same with the test rows
    sources: Sources | None  # of an encoder recipe
    noise: AuditPlan | None  # the audit that training obeys
    teacher: TeacherPlan | None
    translations: tuple[Path, str] | None  # the file of translated texts, and its fingerprint

    @property
    def name(self) -> str:
        """`3`, `0-3` of a nested model, `all` of one that holds out nothing."""
        return "-".join(map(str, self.held)) or ALL_ROWS

    @property
    def part(self) -> str:
        """Of what its checkpoints are, see `Workspace.checkpoints`."""
        return f"fold-{self.name}"
