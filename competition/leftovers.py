"""Checkpoints: those of what is there by now, and the others."""

from pathlib import Path

from competition.checkpoints import inputs_of
from competition.files.records import stamped
from competition.files.tables import table_inputs
from competition.workspace import ALL, Workspace


def leftovers(workspace: Workspace) -> list[Path]:
    """The folders of checkpoints whose fold is trained, or whose encoder is made, from the same inputs.

    Training removes its checkpoints when it is done; these are what is left where it was killed just before.
    """
    return [folder for folder in sorted(workspace.unfinished.glob("*/*")) if _is_done(workspace, folder)]


def unfinished(workspace: Workspace) -> list[str]:
    """The trainings that have other checkpoints, such as `c1 fold-0` or `pretrained encoder`.

    They go on from them where those were made from what they are to be made from.
    """
    done = leftovers(workspace)
    return [" ".join(folder.parts[-2:]) for folder in sorted(workspace.unfinished.glob("*/*")) if folder not in done]


def _is_done(workspace: Workspace, folder: Path) -> bool:
    made = _made_from(workspace, folder.parent.name, folder.name)
    return made is not None and inputs_of(folder) <= {made}  # from a damaged card, nothing goes on


def _made_from(workspace: Workspace, name: str, part: str) -> str | None:
    """What the fold, nested model or encoder that a folder of checkpoints belongs to was made from, if it is there."""
    if part == "encoder":
        return stamped(workspace.encoder(name))
    if part == f"fold-{ALL}":
        return stamped(workspace.model(name, ALL))
    folds = tuple(int(fold) for fold in part.removeprefix("fold-").split("-") if fold.isdecimal())
    if len(folds) == 1:
        return table_inputs(workspace.oof_fold(name, folds[0]))
    return table_inputs(workspace.pair(name, folds))
