"""Checkpoints that nothing needs, and those that an unfinished training goes on from."""

from pathlib import Path

from competition.core.json_files import read_manifest
from competition.core.parquet import read_fingerprint
from competition.core.workspace import ALL_ROWS, Workspace
from competition.training.checkpoint_index import checkpoint_fingerprints


def stale_checkpoints(workspace: Workspace) -> tuple[list[Path], list[str]]:
    """Find the checkpoints that nothing needs.

    Nothing needs those whose fold is trained, or whose encoder is made, from the same inputs:
    training removes its checkpoints when it is done; these are what is left where it was killed
    just before.

    Returns:
        The folders that nothing needs, and the trainings that have other checkpoints, such as
        `c1 fold-0` or `pretrained encoder`. They go on from them where these were made from their
        present inputs.
    """
    stale: list[Path] = []
    unfinished: list[str] = []
    for folder in sorted(workspace.unfinished.glob("*/*")):
        name, part = folder.parts[-2:]
        fingerprint = _result_fingerprint(workspace, name, part)
        # A checkpoint with a damaged card has no fingerprint: no training goes on from it.
        if fingerprint is not None and checkpoint_fingerprints(folder) <= {fingerprint}:
            stale.append(folder)
        else:
            unfinished.append(f"{name} {part}")
    return stale, unfinished


def _result_fingerprint(workspace: Workspace, name: str, part: str) -> str | None:
    """Return the fingerprint of a finished fold, nested model or encoder; None where it is not there.

    Args:
        workspace: where it lies.
        name: of the recipe.
        part: the folder of its checkpoints, see `Workspace.checkpoints`.
    """
    if part == "encoder":
        return read_manifest(workspace.encoder(name))
    if part == f"fold-{ALL_ROWS}":
        return read_manifest(workspace.model(name, ALL_ROWS))

    # `fold-3`, or `fold-0-3` of a nested model, which left out two.
    folds = tuple(int(fold) for fold in part.removeprefix("fold-").split("-") if fold.isdecimal())
    if len(folds) == 1:
        return read_fingerprint(workspace.oof_fold(name, folds[0]))
    return read_fingerprint(workspace.pair(name, folds))
