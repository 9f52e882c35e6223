"""Processes for tests, forked from one that has imported the libraries: each import of them takes five seconds."""

import atexit
import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300  # seconds; processes that take longer hang
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "tests.conftest",
        "competition.models.lexical.lexical",
        "competition.training.finetune",
        "competition.training.pretrain",
        "peft",
    ]
)


@dataclass(frozen=True)
class Ended:
    """What processes left.

    Attributes:
        codes: the exit code of each, negative for a signal.
        stdout: what they printed, one after the other.
        stderr: the same.
    """

    codes: list[int]
    stdout: str
    stderr: str


def forked(program: Callable[..., object], *arguments: object, processes: int = 1) -> Ended:
    """Run a function of a module in processes of their own; several are connected as torchrun would connect them.

    Args:
        program: the function; what it raises gives the exit code 1, SystemExit its own.
        arguments: of the function, in each process.
        processes: of one launch.

    Raises:
        AssertionError: they hang.
    """
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        launch |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        free.close()

        outputs = [Path(folder, str(rank)) for rank in range(processes)]
        children = []
        for rank, output in enumerate(outputs):
            ranked = launch | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            environment = ranked if processes > 1 else {}
            child = _SERVER.Process(
                target=_become, args=(program, arguments, environment, os.getcwd(), output)
            )
            child.start()
            children.append(child)

        for child in children:
            child.join(PATIENCE)
            if child.exitcode is None:
                child.kill()
        codes = [-1 if child.exitcode is None else child.exitcode for child in children]
        stdout, stderr = (
            "".join(output.with_suffix(end).read_text(encoding="utf-8") for output in outputs)
            for end in (".out", ".err")
        )
    assert all(child.exitcode is not None for child in children), stdout + stderr
    return Ended(codes, stdout, stderr)


def _become(
    program: Callable[..., object],
    arguments: tuple[object, ...],
    environment: dict[str, str],
    folder: str,
    output: Path,
) -> None:
    os.chdir(folder)
    os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | environment
    for number, end in ((1, ".out"), (2, ".err")):
        handle = os.open(output.with_suffix(end), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)

    import torch

    torch.set_num_threads(1)
    try:
        program(*arguments)
    finally:
        # multiprocessing leaves this out before Python 3.13.
        atexit._run_exitfuncs()
