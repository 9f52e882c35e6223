"""Bring together the artefacts of one workspace that were made elsewhere, such as some folds on each machine.

A part is a folder that is a workspace of the same settings and data; of its data, only the card is
read. What it made is taken where it was made from what this workspace would make it from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from competition.core.atomic import atomic_file, atomic_folder
from competition.core.errors import CompError, InputError, join_names
from competition.core.fingerprint import digest_tree
from competition.core.json_files import read_manifest
from competition.core.workspace import DATA_LOCK, Workspace
from competition.pipeline.execute import Step
from competition.pipeline.steps import Pipeline


@dataclass(frozen=True)
class Merged:
    """What a merge did with the steps of the parts, by their names."""

    taken: dict[str, Path]  # -> the part that they come from
    there: list[str]  # here already, with the same bytes
    unknown: list[str]  # that the settings here do not ask for


def merge(pipeline: Pipeline, parts: Iterable[Path]) -> Merged:
    """Copy what the parts have made and this workspace lacks; nothing is copied unless all of it fits.

    Submissions and the table of scores are left out, since they are made of all runs in no time.

    Raises:
        InputError: a part has other rows, an artefact made from something else, damaged, or with
            other bytes than one that is here or in another part.
        CompError: a command is working on one of the steps.
    """
    ours = {step.name: step for step in pipeline.steps() if step.files}
    root = pipeline.workspace.root
    done = {name for name, step in ours.items() if step.state == "done"}
    taken: dict[str, tuple[Path, Step]] = {}
    there: dict[str, None] = {}
    unknown: dict[str, None] = {}

    for part in parts:
        for step in _made(pipeline, part):
            mine = ours.get(step.name)
            if mine is None:
                unknown[step.name] = None
                continue
            _check_same_origin(step, mine, part)

            where, other = (root, mine) if step.name in done else taken.get(step.name, (part, step))
            if where != part:
                _check_same_bytes(step, part, other, where)
                there[step.name] = None
            else:
                taken[step.name] = part, step

    with ExitStack() as locks:
        locks.enter_context(pipeline.workspace.lock(DATA_LOCK, shared=True))
        for name in taken:
            locks.enter_context(pipeline.workspace.lock(name))
        # Behind what they need, so that an end in between leaves nothing unmet.
        for name in ours:
            if name in taken:
                part, _ = taken[name]
                _copy(ours[name], part, pipeline.workspace)

    new = {name: part for name, (part, _) in taken.items()}
    return Merged(new, [name for name in there if name not in new], list(unknown))


def _made(pipeline: Pipeline, part: Path) -> list[Step]:
    """Return the steps that a part has made.

    Raises:
        InputError: it is no workspace, it is this one, its rows are others, or one of its artefacts
            is out of date there, or damaged.
    """
    if part.resolve() == pipeline.workspace.root.resolve():
        raise InputError(f"{part} is this workspace: name the folders that its parts were made in.")

    other = Pipeline(Workspace.open(part))
    mine, theirs = pipeline.plan.card, other.plan.card
    if (mine.train, mine.test) != (theirs.train, theirs.test):
        rows = "training" if mine.train != theirs.train else "test"
        raise InputError(
            f"{part} has other {rows} rows than {pipeline.workspace.root}: its models were trained or scored on other "
            "data, so nothing of it can be taken."
        )

    made = []
    bad = []
    for step in other.steps():
        if not step.files or not step.files[0].exists():
            continue
        state = step.state
        folders = [path for path in step.files if path.is_dir()]
        if state == "done" and all(read_manifest(each) == step.fingerprint for each in folders):
            made.append(step)
        else:
            bad.append(f"{step.name} ({'out of date' if state == 'stale' else 'damaged'})")
    if bad:
        raise InputError(
            f"{part} has what cannot be taken, {join_names(bad)}: `comp run` there rebuilds it, or remove its files "
            f"there, the first is {_file_of(other, bad[0])}."
        )
    return made


def _file_of(pipeline: Pipeline, name: str) -> Path:
    return next(step.files[0] for step in pipeline.steps() if name.startswith(f"{step.name} ("))


def _check_same_origin(step: Step, mine: Step, part: Path) -> None:
    if step.fingerprint != mine.fingerprint:
        raise InputError(
            f"{step.name} of {part} is made from another recipe or other settings than those here: compare "
            f"competition.toml and recipes/, or remove {step.files[0]}."
        )


def _check_same_bytes(step: Step, part: Path, other: Step, where: Path) -> None:
    """Refuse two results of the same inputs that differ, as those of other devices or numbers of threads do."""
    for file, known in zip(step.files, other.files, strict=True):
        # Weights may have been removed where outputs are kept.
        if file.exists() and known.exists() and digest_tree(file) != digest_tree(known):
            raise InputError(
                f"{step.name} was made both in {part} and in {where}, from the same inputs but with other bytes "
                f"({file.relative_to(part)}), as on another device or with another number of threads: remove one of "
                "the two."
            )


def _copy(step: Step, part: Path, workspace: Workspace) -> None:
    """Copy what a step leaves, the file that says that it is done last, and the lines of its training's log."""
    if step.trains is not None:
        _copy_log(workspace.log(step.trains), part, workspace.root)
    for target in reversed(step.files):
        source = part / target.relative_to(workspace.root)
        if source.is_dir():
            with atomic_folder(target) as temporary:
                shutil.copytree(source, temporary, dirs_exist_ok=True)
        elif source.exists():
            with atomic_file(target) as temporary:
                shutil.copyfile(source, temporary)

    if step.state != "done":
        raise CompError(
            f"{step.name} of {part} changed while it was copied: run the same command again."
        )


def _copy_log(log: Path, part: Path, root: Path) -> None:
    source = part / log.relative_to(root)
    if source.is_file():
        add_log_lines(log, source.read_text(encoding="utf-8"))


def add_log_lines(log: Path, text: str) -> None:
    """Add the lines of another log that are not in `log` yet."""
    known = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    seen = set(known)
    new = [line for line in text.splitlines() if line not in seen]
    if new:
        with atomic_file(log) as temporary:
            joined = "\n".join([*known, *new])
            temporary.write_text(f"{joined}\n", encoding="utf-8")
