"""Checkpoints, from which interrupted training resumes: its state after a step, on disk, whole or not at all.

A checkpoint is a folder `step-N` with `state.safetensors` and `state.json`, which holds the
fingerprint of what the training is made from and the other file's checksum. Nothing of it decides a
result: whatever a step draws is a function of the seed and the step, so that no generator has a
state to be kept, and the clock decides only when one is written.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from competition.config.base_recipe import TrainingKeys
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import warn
from competition.core.errors import CompError
from competition.core.json_files import read_json, write_json
from competition.training.checkpoint_index import CARD, FORMAT
from competition.training.model_files import trained_weights

KEPT = 2  # checkpoints of one training
_TENSORS = "state.safetensors"


@dataclass(frozen=True)
class State:
    """A part of a training as it is after a step."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # JSON


class Stateful(Protocol):
    """A part of a training whose state changes from step to step."""

    def state(self) -> State:
        """Return all that changes; tensors may share memory with the training."""

    def restore(self, state: State) -> None:
        """Go back to where `state` was taken."""


def select_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix/`, without it."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix/` before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


class Checkpoints:
    """The last states of one training; those from which it cannot resume are ignored with a warning."""

    def __init__(
        self, folder: Path, fingerprint: str, recipe: TrainingKeys, parts: Mapping[str, Stateful]
    ) -> None:
        """`fingerprint` is that of all that the training depends on; `parts` are what a checkpoint holds."""
        self._folder = folder
        self._fingerprint = fingerprint
        self._parts = dict(parts)
        self._steps = recipe.checkpoint_steps
        self._seconds = 60 * recipe.checkpoint_minutes
        self._saved = time.monotonic()
        newest = self._newest() if distributed.is_main_process() else None
        self.newest = distributed.broadcast_from_main(newest)
        self._own = [] if self.newest is None else [self.newest]  # the oldest first

    def add(self, name: str, part: Stateful) -> None:
        """Add a part that is made only once training begins."""
        self._parts[name] = part

    def due(self, step: int) -> bool:
        """Return whether to save after optimiser step `step`, from 1; the clock is the first process's."""
        by_steps = bool(self._steps) and step % self._steps == 0
        by_clock = distributed.is_main_process() and time.monotonic() - self._saved >= self._seconds
        return by_steps or distributed.any_process(by_clock)

    def save(self, step: int) -> None:
        """Write the state of every part after `step`, and remove all but the newest checkpoints.

        The first process writes. Where the state is sharded, all must call it.
        """
        # Gathering a sharded state is an exchange of all processes.
        states = {name: part.state() for name, part in self._parts.items()}
        if not distributed.is_main_process():
            return

        tensors: dict[str, Tensor] = {}
        for name, state in states.items():
            tensors |= add_prefix(name, state.tensors)
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        path = self._folder / f"step-{step:08d}"
        with atomic_folder(path) as temporary:
            save_file(dict(sorted(stored.items())), temporary / _TENSORS)
            card = {
                "format": FORMAT,
                "inputs": self._fingerprint,
                "checksum": _checksum(temporary / _TENSORS),
                "values": {name: state.values for name, state in states.items()},
            }
            write_json(temporary / CARD, card)

        # Older ones, those that were ignored, and what a killed process left.
        self._own = [*(own for own in self._own if own != path), path][-KEPT:]
        for other in self._folder.iterdir():
            if other not in self._own:
                shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()

    def restore(self) -> bool:
        """Put every part where the newest checkpoint has it; return False where there is none."""
        if self.newest is None:
            return False

        # `_newest` has compared the checksum.
        tensors = load_file(self.newest / _TENSORS)
        card = read_json(self.newest / CARD)
        for name, part in self._parts.items():
            part.restore(State(select_prefix(name, tensors), card["values"][name]))
        return True

    def _newest(self) -> Path | None:
        for path in sorted(self._folder.glob("step-*"), reverse=True):
            fault = self._fault(path)
            if fault is None:
                return path
            warn(f"The checkpoint {path} is ignored: {fault}.")
        return None

    def _fault(self, path: Path) -> str | None:
        card = read_json(path / CARD)
        if card.get("format") != FORMAT:
            return "it is incomplete, or another version wrote it"
        if card.get("inputs") != self._fingerprint:
            return "it was made from other rows, recipes or settings"
        if not (path / _TENSORS).is_file() or _checksum(path / _TENSORS) != card.get("checksum"):
            return "its content has changed since it was written"
        return None

    def check_room(self, model: nn.Module, averages: bool) -> None:
        """Raise CompError where the disk lacks room for what training will write of `model`.

        A checkpoint holds the weights, their averages, AdamW's two moments and the weights that are
        kept; one more than stay is there while it is written. Then there are the weights of the
        trained model. Old checkpoints count as room, since they are replaced.
        """
        weights = sum(tensor.nbytes for tensor in trained_weights(model).values())
        moments = 2 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
        needed = (KEPT + 1) * ((2 + averages) * weights + moments) + weights

        there = next(parent for parent in self._folder.parents if parent.exists())
        old = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        free = shutil.disk_usage(there).free + old
        if free < needed:
            raise CompError(
                f"Training writes up to {needed / 1e9:,.1f} GB of weights and checkpoints to {self._folder}, and its "
                f"disk has room for {free / 1e9:,.1f} GB: free some (`comp clean` may help)."
            )


def _checksum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
