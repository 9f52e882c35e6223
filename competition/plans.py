"""What one model, one audit, is made from: the answers of `planning.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from competition.keys import AuditKeys
from competition.model.sources import Sources
from competition.oof import RunPlan
from competition.workspace import ALL

PAIRED = "five"  # the scheme that ensembles are cross-fitted over, and nested models leave out two folds of

Pairs = Mapping[tuple[int, ...], str]  # the nested models of a run: the two folds that each leaves out, and its inputs


@dataclass(frozen=True)
class AuditPlan:
    """An audit of complete runs, or of nested models that all left out one more fold, too."""

    name: str  # of the audited run, or of several joined by `+`: its folder in `oof/`
    runs: tuple[RunPlan, ...]
    keys: AuditKeys
    inputs: str  # fingerprint of all that the audit depends on
    fold: int | None = None  # whose rows are not audited, and that none of the models saw
    pairs: Mapping[str, Pairs] = field(default_factory=dict)  # run -> its nested models that left out `fold`


@dataclass(frozen=True)
class TeacherPlan:
    """The run that a student learns from beside the labels, and its nested models that left out the scored fold."""

    run: RunPlan
    pairs: Pairs | None
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
        return "-".join(map(str, self.held)) or ALL

    @property
    def part(self) -> str:
        """Of what its checkpoints are, see `Workspace.checkpoints`."""
        return f"fold-{self.name}"
