"""Workspaces for tests, from the built-in catalogue or from real rows beside the project."""

import fcntl
import functools
import gc
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pandas as pd
import pytest
import typer.testing
from typer.testing import CliRunner, Result

from competition.cli import app
from competition.cli.output import start_output
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.data.augment import texts_to_translate
from tests.esci import CONTEST

# No test pulls a plug: what the disk has not yet is read back all the same.
os.fsync = lambda descriptor: None
# The libraries' objects are there to the end; to look through them for waste again and again takes a tenth of the time.
gc.freeze()
gc.set_threshold(100_000, 20, 100)
# A command is the same at each call: to build all of them again takes 9 milliseconds.
typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]
# No test may use a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The machine may be busy, so no test fails because an example is slow.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

SHARED = Path(__file__).parents[2] / "shared" / "data"
SAMPLE_A = SHARED / "esci-sample"
SAMPLE_B = SHARED / "esci-sample-aicrowd"
needs_sample = pytest.mark.skipif(
    not SAMPLE_A.is_dir(), reason=f"the real rows are not at {SAMPLE_A}"
)

needs_optuna = pytest.mark.skipif(
    find_spec("optuna") is None, reason="the extra `tune` is not installed"
)

# Every kind of recipe, each small enough for seconds.
QUICK = """
preset = "tiny"
recipes = ["lexical", "c1", "r2", "t3"]
[overrides]
scheme = "five"
max_length = 32
epochs = 1
n_estimators = 20
selections = 20
adversary = "none"
r_drop = 0.0
"""

# The lexical baseline only, trained in a second. On so few rows, its audits are unreliable.
LEXICAL_ALONE = """
recipes = ["lexical"]
noise_run = ""
noise_despite_doubts = true
[submission]
task2 = "lexical"
[overrides]
n_estimators = 15
"""


# Session fixtures that take minutes to make: `make test-fast` leaves out all tests that need them.
SLOW_FIXTURES = {"finished"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a slow fixture, and put files with slow tests first.

    Processes that share the files then end at the same time: what is left at the end is quick. One
    file makes the slow fixtures while others need none of them, so that no process waits for another.
    """
    waiting: dict[Path, None] = {}
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            waiting[item.path] = None

    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    first, *later = waiting or [None]
    items.sort(
        key=lambda item: (item.path not in slow_files, item.path != first, item.path in later)
    )


@pytest.fixture(autouse=True)
def console_on_stdout() -> None:
    """Show progress on stdout, whatever options the last command of this process had."""
    start_output(quiet=False, as_json=False)


def comp(*arguments: str | Path) -> Result:
    """Run `comp` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> str:
    """Run a command that must end with exit code 2 and one sentence on stderr; return the sentence."""
    result = comp(*arguments)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


def lines_of(output: str) -> list[str]:
    """Return the lines that a command printed, without the `[1/9]` before steps."""
    return [re.sub(r"^\[\d+/\d+\] ", "", line) for line in output.splitlines()]


def make_workspace(folder: Path, queries: int = 60, settings: str = QUICK) -> Workspace:
    """Make a workspace with rows of the built-in catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "competition.toml").write_text(settings, encoding="utf-8")
    workspace = Workspace.open(folder)
    examples, products, _ = synthetic.make(queries, noise=0.05, seed=7)
    store.save(workspace, CONTEST, examples, products, "test")
    return workspace


def artefacts(root: Path) -> dict[str, str]:
    """Return the hash of every file in folds/, oof/ and submissions/ of a workspace, without logs."""
    paths = [
        path
        for name in ("folds", "oof", "submissions")
        for path in sorted((root / name).rglob("*"))
    ]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file() and path.name not in ("log.jsonl", "leaderboard.csv")
    }


@pytest.fixture(scope="session")
def catalogue() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products of 60 queries."""
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    return examples, products


@pytest.fixture(scope="session")
def marian(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Path:
    """Make a translation model of random weights for the Spanish texts of the catalogue."""
    # Seconds of imports, which the process that starts the others would wait for.
    from tests.marian import make_marian

    folder = tmp_path_factory.mktemp("marian") / "es-en"
    make_marian(folder, texts_to_translate(*catalogue, CONTEST))
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a file or folder that the first process to ask for it makes; all read it and leave it as it is."""
    # Processes of pytest-xdist have their folders side by side.
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / name).exists():
            make(shared / f"in-making-{name}")
            (shared / f"in-making-{name}").rename(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Make a workspace in which `comp run` has made everything; tests read it and do not change it."""

    def train(root: Path) -> None:
        make_workspace(root)
        result = comp("run", "-w", root)
        assert result.exit_code == 0, result.output

    trained = made_once(tmp_path_factory, "trained", train)
    return Workspace(shutil.copytree(trained, tmp_path_factory.mktemp("finished") / "w"))
