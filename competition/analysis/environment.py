"""The machine: Python, packages, the device with its precision and memory."""

import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "comp-relevance"
# Packages with compiled parts, which may be missing although the package is installed.
_COMPILED = ("torch", "transformers", "accelerate", "lightgbm")
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
    """The device on which models are trained."""

    name: str
    kind: str  # cpu, cuda or mps
    precision: str  # of forward passes, bf16 or fp32
    memory: int  # bytes
    free: int  # bytes of them
    threads: int  # of the CPU


def find_device(precision: str = "auto") -> Device:
    """Return the device that training would use, with what the `precision` of a recipe means on it."""
    import psutil
    import torch

    from competition.training.device import computes_in_bf16
    from competition.training.loop import make_accelerator

    kind = make_accelerator().device.type
    if kind == "cuda":
        name = torch.cuda.get_device_name()
        free, total = torch.cuda.mem_get_info()
    else:
        name = platform.processor() or platform.machine()
        memory = psutil.virtual_memory()
        free, total = memory.available, memory.total

    return Device(
        name=name,
        kind=kind,
        precision="bf16" if computes_in_bf16(precision) else "fp32",
        memory=total,
        free=free,
        threads=torch.get_num_threads(),
    )


def check_machine() -> Iterator[Check]:
    """Check Python, packages, device and precision."""
    yield _check_python()
    yield from _check_packages()

    broken = [check for name in _COMPILED if (check := _check_import(name)) is not None]
    yield from broken
    if not broken:
        yield from _check_device()


def _check_python() -> Check:
    from packaging.specifiers import SpecifierSet

    bounds = ">=3.11"
    with suppress(PackageNotFoundError):
        bounds = metadata(DISTRIBUTION)["Requires-Python"] or bounds

    installed = platform.python_version()
    message = f"{installed}, {sys.executable}"
    if SpecifierSet(bounds).contains(installed, prereleases=True):
        return Check("Python", "well", message)
    fix = f"install Python {bounds} and rebuild the environment: rm -r .venv; make demo"
    return Check("Python", "stop", f"{message}, needs {bounds}", fix)


def _check_packages() -> Iterator[Check]:
    """Yield a check of each package that is missing or out of bounds, or one if there is none."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        message = f"{DISTRIBUTION} is not installed, its bounds are unknown"
        yield Check("packages", "look", message, "pip install -e .")
        return

    # Without an extra: development tools are no part of the package.
    required = [
        each for each in required if each.marker is None or each.marker.evaluate({"extra": ""})
    ]
    bad = [check for each in required if (check := _check_package(each)) is not None]
    yield from bad
    if not bad:
        message = f"{len(required)} within their bounds, torch {version('torch')}"
        yield Check("packages", "well", message)


def _check_package(required: "Requirement") -> Check | None:
    """Return the problem of a package, None if it fits."""
    fix = f"pip install '{required}'"
    try:
        installed = version(required.name)
    except PackageNotFoundError:
        return Check(required.name, "stop", f"is not installed, needs {required}", fix)

    if required.specifier.contains(installed, prereleases=True):
        return None
    message = f"{installed} is installed, needs {required}"
    return Check(required.name, "stop", message, fix)


def _check_import(name: str) -> Check | None:
    """Return why a package cannot be imported, None if it can."""
    try:
        import_module(name)
    except Exception as error:  # whatever a broken installation raises
        reason = str(error).split("\n")[0]
        fix = f"pip install --force-reinstall {name}"
        return Check(name, "stop", f"cannot be imported: {reason}", fix)
    return None


def _check_device() -> Iterator[Check]:
    from competition.training.device import computes_in_bf16

    device = find_device()
    memory = f"{device.free / GIB:.1f} of {device.memory / GIB:.1f} GiB free"
    threads = f", threads: {device.threads}" if device.kind == "cpu" else ""
    yield Check("device", "well", f"{device.kind} ({device.name}){threads}, {memory}")

    message = "fp32" if device.precision == "fp32" else "bf16 where it is safe, fp32 elsewhere"
    if device.kind == "cuda" and device.precision == "fp32":
        message += ": this GPU has no bf16, so training takes several times as long"
        yield Check("precision", "look", message)
        return

    # A CPU with bf16 uses it only for recipes that ask for speed.
    if device.kind == "cpu" and computes_in_bf16("fast"):
        message += ', bf16 where a recipe has `precision = "fast"`'
    yield Check("precision", "well", message)
