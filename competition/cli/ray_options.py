"""The options of commands that build steps by Ray."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from competition.core.errors import InputError


class Engine(StrEnum):
    """What builds steps beside processes of this machine."""

    RAY = "ray"


EngineOption = Annotated[
    Engine | None,
    typer.Option("--on", help="Build steps as tasks of Ray, here or on the cluster of --address."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Of a Ray cluster of which this machine is one."),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        help="GPUs of each step that uses any, on Ray: 0.5 lets two steps share one; 2 or more are a process each, "
        "connected by Accelerate. Default: 1.",
    ),
]
ScratchOption = Annotated[
    Path | None,
    typer.Option(
        help="On Ray, machines share no file system: each has a copy of what it needs in this folder.",
    ),
]


@dataclass(frozen=True)
class RayOptions:
    """How steps are built by Ray: see the options."""

    address: str | None
    gpus: float
    scratch: Path | None


def ray_options(
    engine: Engine | None, address: str | None, gpus: float | None, scratch: Path | None
) -> RayOptions | None:
    """Return how steps are built by Ray; None where they are not.

    Raises:
        InputError: an option is for Ray alone, or is a number of GPUs that cannot be shared.
    """
    given = {"--address": address, "--gpus": gpus, "--scratch": scratch}
    alone = [name for name, value in given.items() if value is not None]
    if engine is None:
        if alone:
            raise InputError(f"{alone[0]} is for Ray: add `--on ray`.")
        return None

    each = 1.0 if gpus is None else gpus
    if each <= 0 or (each > 1 and not each.is_integer()):
        raise InputError(f"--gpus {each:g} is neither a part of one GPU nor a number of them.")
    if scratch is not None and not scratch.is_absolute():
        raise InputError(f"--scratch {scratch} is not an absolute path, as other machines need it.")
    return RayOptions(address, each, scratch)
