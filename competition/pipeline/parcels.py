"""Files of a workspace on their way between machines that share no file system, each with its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.atomic import atomic_file, atomic_folder
from competition.core.errors import CompError
from competition.core.fingerprint import digest_file
from competition.core.workspace import FOLDERS, Workspace
from competition.pipeline.execute import Step
from competition.pipeline.merge import add_log_lines


@dataclass(frozen=True)
class Packed:
    """A file: the digest of its bytes, and these as an array, or a reference to it."""

    digest: str
    content: Any


Parcel = Mapping[str, Packed]  # by the place in the workspace


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files that exist, and those below folders."""
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())


def files_no_step_leaves(workspace: Workspace, steps: Iterable[Step]) -> list[Path]:
    """Return all that a copy of a workspace needs before any step: settings, recipes, rows, outputs of other tools.

    That is all of its folder but what is hidden or made. The reviews of an audit lie among outputs.
    """
    made = {path for step in steps for path in step.files} | {workspace.text_features}
    made |= {workspace.root / name for name in FOLDERS if name != "data"}
    made |= {path for path in workspace.examples.parent.iterdir() if path.is_dir()}

    found: list[Path] = []

    def visit(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path in made:
                continue
            if path.is_dir():
                visit(path)
            else:
                found.append(path)

    visit(workspace.root)
    return found + sorted(workspace.oof.glob("*/verdicts.parquet"))


def pack(path: Path) -> Packed:
    """Read a file."""
    content = np.fromfile(path, np.uint8)
    return Packed(_digest(content), content)


def unpack(parcel: Parcel, root: Path, read: Callable[[Any], Any]) -> None:
    """Write the files of a parcel that are not below `root` yet; `read` returns the array of a reference."""
    for name, packed in parcel.items():
        target = root / name
        if not (target.is_file() and digest_file(target) == packed.digest):
            with atomic_file(target) as temporary:
                _write(temporary, name, Packed(packed.digest, read(packed.content)))


def bring(step: Step, parcel: Parcel, workspace: Workspace) -> None:
    """Write what a step leaves, the file that says that it is done last, and the lines of its training's log.

    Raises:
        CompError: something was damaged on its way, or it is not what the step leaves.
    """
    root = workspace.root
    if step.trains is not None:
        log = workspace.log(step.trains)
        if lines := parcel.get(str(log.relative_to(root))):
            add_log_lines(log, lines.content.tobytes().decode())

    for target in reversed(step.files):
        name = str(target.relative_to(root))
        if name in parcel:
            with atomic_file(target) as temporary:
                _write(temporary, name, parcel[name])
            continue

        inside = {each: parcel[each] for each in parcel if each.startswith(f"{name}/")}
        if inside:
            with atomic_folder(target) as temporary:
                for each, packed in inside.items():
                    file = temporary / each.removeprefix(f"{name}/")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    _write(file, each, packed)
    if step.state != "done":
        raise CompError(
            f"What came back of {step.name} is not complete: run the same command again."
        )


def _write(path: Path, name: str, packed: Packed) -> None:
    if _digest(packed.content) != packed.digest:
        raise CompError(f"{name} was damaged on its way: run the same command again.")
    packed.content.tofile(path)


def _digest(content: NDArray[np.uint8]) -> str:
    return hashlib.sha256(content.data).hexdigest()
