"""Where a training goes on when it was cut short: its state after a step, on disk, whole or not at all.

A checkpoint is a folder `step-N` with `state.safetensors` and `state.json`, which says what it was
made from and holds the other file's checksum. Nothing of it decides a result: whatever a step draws
is a function of the seed and the step, so that no generator has a state to be kept, and the clock
decides only when one is written.
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

from competition.config.recipe import TrainingKeys
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import warn
from competition.core.errors import CompError
from competition.core.json_files import read_json, write_json
from competition.training.checkpoint_index import CARD, FORMAT

KEPT = 2  # checkpoints of one training
_TENSORS = "state.safetensors"


@dataclass(frozen=True)
class State:
    """What changes while something is trained."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # JSON


class Stateful(Protocol):
    """A part of a training whose state changes from step to step."""

    def state(self) -> State:
        """All that changes; tensors may be the living ones."""

    def restore(self, state: State) -> None:
        """Be as one was when `state` was taken."""


def select_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix/`, without it."""
    return {
        name.removeprefix(f"{prefix}/"): t
        for name, t in tensors.items()
        if name.startswith(f"{prefix}/")
    }


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `prefix/` before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


class Checkpoints:
    """The last states of one training; those that cannot be gone on from are ignored, and it is said why."""

    def __init__(
        self, folder: Path, inputs: str, recipe: TrainingKeys, parts: Mapping[str, Stateful]
    ) -> None:
        """`inputs` is the fingerprint of all that the training depends on; `parts` are what a checkpoint holds."""
        self._folder, self._inputs, self._parts = folder, inputs, dict(parts)
        self._steps, self._seconds = recipe.checkpoint_steps, 60 * recipe.checkpoint_minutes
        self._saved = time.monotonic()
        self.found = distributed.broadcast_from_main(
            self._newest() if distributed.is_main_process() else None
        )
        self._own = [] if self.found is None else [self.found]  # the oldest first

    def add(self, name: str, part: Stateful) -> None:
        """One more part, which is made only once training begins."""
        self._parts[name] = part

    def due(self, step: int) -> bool:
        """Whether it is time for another one after optimiser step `step`, from 1: the first process's clock says."""
        by_steps = bool(self._steps) and step % self._steps == 0
        by_clock = distributed.is_main_process() and time.monotonic() - self._saved >= self._seconds
        return by_steps or distributed.any_process(by_clock)

    def save(self, step: int) -> None:
        """Write what every part is after `step`, and remove all but the newest ones; the first process does.

        Where the state is split over processes, all must call it.
        """
        states = {name: part.state() for name, part in self._parts.items()}
        if not distributed.is_main_process():
            return
        path = self._folder / f"step-{step:08d}"
        with atomic_folder(path) as temporary:
            tensors = {
                k: t
                for name, state in states.items()
                for k, t in add_prefix(name, state.tensors).items()
            }
            save_file(
                {name: _stored(tensor) for name, tensor in sorted(tensors.items())},
                temporary / _TENSORS,
            )
            card = {
                "format": FORMAT,
                "inputs": self._inputs,
                "checksum": _checksum(temporary / _TENSORS),
                "values": {name: state.values for name, state in states.items()},
            }
            write_json(temporary / CARD, card)
        self._own = [*(own for own in self._own if own != path), path][-KEPT:]
        for other in self._folder.iterdir():
            if (
                other not in self._own
            ):  # older ones, those that were ignored, and what a killed process left
                shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()

    def restore(self) -> bool:
        """Put every part where the checkpoint that was found has it; False where there was none."""
        if self.found is None:
            return False
        tensors, card = load_file(self.found / _TENSORS), read_json(self.found / CARD)
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
        if card.get("inputs") != self._inputs:
            return "it was made from other rows, recipes or settings"
        if not (path / _TENSORS).is_file() or _checksum(path / _TENSORS) != card.get("checksum"):
            return "its content has changed since it was written"
        return None

    def check_room(self, model: nn.Module, averages: bool) -> None:
        """Raise CompError where the disk lacks room for what training will write of `model`.

        A checkpoint holds the weights, their averages, AdamW's two moments and the weights that are
        kept; one more than stay is there while it is written. Then there are the weights of the
        trained model. What lies there counts as room, since it is replaced.
        """
        weights = sum(tensor.nbytes for tensor in model.state_dict().values())
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


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _checksum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
