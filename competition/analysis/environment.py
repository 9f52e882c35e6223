"""What commands run on: Python, packages, the device and what it computes in, memory."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Literal

DISTRIBUTION = "comp-relevance"
_LOADED = (
    "torch",
    "transformers",
    "accelerate",
    "lightgbm",
)  # libraries with parts of their own that may be missing
GIB = 2**30

Level = Literal["well", "look", "stop"]


@dataclass(frozen=True)
class Check:
    """One finding: with `look` every command works, with `stop` one would fail unless `fix` is done."""

    subject: str
    level: Level
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Device:
    """What models are trained on."""

    name: str
    kind: str  # cpu, cuda or mps
    precision: str  # that forward passes compute in
    memory: int  # bytes in all
    free: int  # bytes that are not in use
    threads: int  # of the CPU


def find_device(asked: str = "auto") -> Device:
    """The device that training would take, and what it computes in by the `precision` of a recipe."""
    import psutil
    import torch

    from competition.training.device import computes_in_bf16
    from competition.training.loop import make_accelerator

    accelerator = make_accelerator()
    kind = accelerator.device.type
    precision = "bf16" if computes_in_bf16(asked) else "fp32"
    if kind == "cuda":
        free, total = torch.cuda.mem_get_info()
        return Device(
            torch.cuda.get_device_name(), kind, precision, total, free, torch.get_num_threads()
        )
    memory = psutil.virtual_memory()
    name = platform.processor() or platform.machine()
    return Device(name, kind, precision, memory.total, memory.available, torch.get_num_threads())


def check_machine() -> Iterator[Check]:
    """Python, packages, libraries, device and precision."""
    yield _python()
    yield from _packages()
    broken = [finding for name in _LOADED if (finding := _load(name)) is not None]
    yield from broken
    if not broken:
        yield from _device()


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), _of_distribution("Requires-Python") or ">=3.11"
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    said = f"{found}, {sys.executable}"
    mend = f"install Python {wanted} and make the environment anew: rm -r .venv; make demo"
    return (
        Check("Python", "well", said)
        if fits
        else Check("Python", "stop", f"{said}, needs {wanted}", mend)
    )


def _of_distribution(field: str) -> str | None:
    try:
        return metadata(DISTRIBUTION)[field]
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Check]:
    """Each package that is missing or outside of its bounds; one finding where all are well."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        yield Check(
            "packages",
            "look",
            f"{DISTRIBUTION} is not installed, its bounds are unknown",
            "pip install -e .",
        )
        return
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    bad = list(filter(None, (_misfit(one.name, one) for one in wanted)))
    yield from bad
    if not bad:
        yield Check(
            "packages", "well", f"{len(wanted)} within their bounds, torch {version('torch')}"
        )


def _misfit(name: str, wanted: object) -> Check | None:
    mend = f"pip install '{wanted}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, "stop", f"is not installed, needs {wanted}", mend)
    fits = wanted.specifier.contains(found, prereleases=True)  # type: ignore[attr-defined]
    return None if fits else Check(name, "stop", f"{found} is installed, needs {wanted}", mend)


def _load(name: str) -> Check | None:
    try:
        import_module(name)
    except Exception as error:  # whatever a broken installation raises
        reason = str(error).split("\n")[0]
        return Check(
            name, "stop", f"cannot be loaded: {reason}", f"pip install --force-reinstall {name}"
        )
    return None


def _device() -> Iterator[Check]:
    from competition.training.device import computes_in_bf16

    device = find_device()
    memory = f"{device.free / GIB:.1f} of {device.memory / GIB:.1f} GiB free"
    threads = f", threads: {device.threads}" if device.kind == "cpu" else ""
    yield Check("device", "well", f"{device.kind} ({device.name}){threads}, {memory}")
    said = {"bf16": "bf16 where it is safe, fp32 elsewhere", "fp32": "fp32"}[device.precision]
    if device.kind == "cuda" and device.precision == "fp32":
        yield Check(
            "precision",
            "look",
            f"{said}: this GPU has no bf16, so training takes several times as long",
        )
    else:
        fast = device.kind == "cpu" and computes_in_bf16("fast")
        yield Check(
            "precision", "well", said + ', bf16 where a recipe says `precision = "fast"`' * fast
        )
