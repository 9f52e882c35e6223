"""The inputs of an audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from competition.config.keys import AuditKeys
from competition.scoring.predictions import RunPlan

# The nested models of a run: the two folds that each leaves out, and its fingerprint.
NestedModels = Mapping[tuple[int, ...], str]


@dataclass(frozen=True)
class AuditPlan:
    """An audit of complete runs, or of nested models that all left out one more fold, too."""

    name: str  # of the audited run, or of several joined by `+`: its folder in `oof/`
    runs: tuple[RunPlan, ...]
    keys: AuditKeys
    inputs: str  # fingerprint of all that the audit depends on

    # The fold whose rows are not audited, and that none of the models saw.
    fold: int | None = None

    # Run -> its nested models that left out `fold`.
    pairs: Mapping[str, NestedModels] = field(default_factory=dict)
