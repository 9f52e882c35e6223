"""Checkpoints: those of what is there by now, and the others."""

from pathlib import Path

from competition.core.json_files import read_manifest
from competition.core.parquet import read_fingerprint
from competition.core.workspace import ALL_ROWS, Workspace
from competition.training.checkpoint_index import checkpoint_fingerprints


def stale_checkpoints(workspace: Workspace) -> tuple[list[Path], list[str]]:
    """The folders of checkpoints that nothing needs, and the trainings that have others.

    Nothing needs those whose fold is trained, or whose encoder is made, from the same inputs:
    training removes its checkpoints when it is done; these are what is left where it was killed
    just before. The others are named such as `c1 fold-0` or `pretrained encoder`; their training
    goes on from them where they were made from its present inputs.
    """
    done, kept = [], []
    for folder in sorted(workspace.unfinished.glob("*/*")):
        if _is_done(workspace, folder):
            done.append(folder)
        else:
            kept.append(" ".join(folder.parts[-2:]))
    return done, kept


def _is_done(workspace: Workspace, folder: Path) -> bool:
    made = _made_from(workspace, folder.parent.name, folder.name)
    return made is not None and checkpoint_fingerprints(folder) <= {
        made
    }  # from a damaged card, nothing goes on


def _made_from(workspace: Workspace, name: str, part: str) -> str | None:
    """Return the recorded fingerprint of what a folder of checkpoints belongs to, if that is there.

    It is a fold, a nested model, a model of all rows or an encoder.
    """
    if part == "encoder":
        return read_manifest(workspace.encoder(name))
    if part == f"fold-{ALL_ROWS}":
        return read_manifest(workspace.model(name, ALL_ROWS))
    folds = tuple(int(fold) for fold in part.removeprefix("fold-").split("-") if fold.isdecimal())
    if len(folds) == 1:
        return read_fingerprint(workspace.oof_fold(name, folds[0]))
    return read_fingerprint(workspace.pair(name, folds))
