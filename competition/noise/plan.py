"""What an audit is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from competition.config.keys import AuditKeys
from competition.scoring.predictions import RunPlan

NestedModels = Mapping[
    tuple[int, ...], str
]  # the nested models of a run: the two folds that each leaves out, and its inputs


@dataclass(frozen=True)
class AuditPlan:
    """An audit of complete runs, or of nested models that all left out one more fold, too."""

    name: str  # of the audited run, or of several joined by `+`: its folder in `oof/`
    runs: tuple[RunPlan, ...]
    keys: AuditKeys
    inputs: str  # fingerprint of all that the audit depends on
    fold: int | None = None  # whose rows are not audited, and that none of the models saw
    pairs: Mapping[str, NestedModels] = field(
        default_factory=dict
    )  # run -> its nested models that left out `fold`
