"""The examples of the documentation run, and what is made from the code is as the code is now."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer

from competition.cli import app
from competition.data import esci
from competition.data.esci_released import A_EXAMPLES, A_PRODUCTS
from competition.pipeline.folder_scorer import FolderScorer
from tests.conftest import comp
from tests.pipeline.serving.listening import listening

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
# What `comp init` writes, for seconds: less of everything.
QUICK = """
preset = "tiny"
recipes = ["lexical", "b1"]
default_recipe = "b1"
noise_run = "lexical"
[overrides]
scheme = "five"
max_length = 16
epochs = 1
n_estimators = 10
adversary = "none"
r_drop = 0.0
method = "paper"  # of ensembles: it is fitted at once
"""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file and content of each fenced block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(content: str) -> Iterator[list[str]]:
    """The words of each command of `comp` in a block; of a session only the lines that are typed."""
    for line in re.sub(r"\\\n", " ", content).splitlines():
        words = shlex.split(line.removeprefix("$ ").replace("$fold", "0"), comments=True)
        words = words[1:] if words and "=" in words[0] else words
        if words[:1] == ["comp"]:
            yield [word for word in words[1:] if word != "&"]


def pages_with(language: str) -> list[Path]:
    """The pages that have such a block."""
    return [page for page in PAGES if any(kind == language for kind, *_ in blocks(page))]


@pytest.fixture(scope="module")
def some_queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with a third of its queries: enough for an audit to meet every label in every fold."""
    folder = tmp_path_factory.mktemp("sample")
    examples = pd.read_parquet(esci.SAMPLE / A_EXAMPLES)
    examples = examples[examples["query_id"].isin(sorted(examples["query_id"].unique())[1::3])]
    products = pd.read_parquet(esci.SAMPLE / A_PRODUCTS)
    examples.to_parquet(folder / A_EXAMPLES)
    products[products["product_id"].isin(examples["product_id"])].to_parquet(folder / A_PRODUCTS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("console"), ids=lambda page: page.stem)
def test_sessions_run(
    page: Path, some_queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esci, "SAMPLE", some_queries)
    monkeypatch.chdir(tmp_path)
    for language, file, content in blocks(page):
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(content, encoding="utf-8")
        elif language == "python":
            exec(compile(content, str(page), "exec"), {})
        elif language == "console":
            typed(content, monkeypatch)
        elif content.startswith("curl"):
            sent(content)


def sent(content: str) -> None:
    """Send a request to a server that listens, as it stands on the page but for the port."""
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    scorer = FolderScorer(Path("model"))
    with listening(scorer) as address:
        here = content.replace("\\\n", " ").replace("http://localhost:8080", address)
        words = shlex.split(here)
        answer = json.loads(subprocess.check_output([*words, "--silent", "--noproxy", "*"]))

    request = json.loads(words[words.index("-d") + 1])
    scores = scorer.score(request["query"], request["documents"])
    best = int(scores.argmax())
    assert answer["results"][0] == {"index": best, "relevance_score": scores[best]}


def typed(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the lines of a session, on fewer queries and smaller models."""
    for line in content.splitlines():
        if line.startswith("$ cd "):
            monkeypatch.chdir(line.removeprefix("$ cd "))
        for words in commands(line) if line.startswith("$ ") else ():
            result = comp(*("60" if word == "300" else word for word in words))
            assert result.exit_code == 0, (words, result.output, result.stderr)
            if words[0] == "init":
                settings = Path(words[1], "competition.toml")
                lines = settings.read_text(encoding="utf-8").splitlines()
                competition = next(line for line in lines if line.startswith("competition = "))
                settings.write_text(f"{competition}\n{QUICK}", encoding="utf-8")


def test_the_tutorial_runs_the_demo() -> None:
    demo = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ndemo:")[1].split("\n\n")[0]
    lines = re.findall(r"\$\(BIN\)/(comp .*)", demo)
    tutorial = [
        line for _, _, content in blocks(DOCS / "tutorial.md") for line in content.splitlines()
    ]
    assert lines == ["comp data sample", "comp run"]
    assert {f"$ {line}" for line in lines} <= set(tutorial)


@pytest.mark.parametrize("page", pages_with("sh"), ids=lambda page: page.stem)
def test_commands_that_are_not_run_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    for language, _, content in blocks(page):
        for words in commands(content) if language == "sh" else ():
            root.make_context("comp", [*words, "--help"], resilient_parsing=True)
            command, rest = root, words
            while rest and rest[0] in getattr(command, "commands", {}):
                command, rest = command.commands[rest[0]], rest[1:]  # type: ignore[attr-defined]
            command.make_context("comp", rest).close()


def test_the_reference_is_what_the_code_says() -> None:
    reference = runpy.run_path(str(DOCS / "build.py"))["reference"]()
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == reference, "run `make docs`"


def test_the_page_of_costs_is_what_the_arithmetic_says() -> None:
    page = runpy.run_path(str(DOCS / "scale.py"))["page"]()
    assert (DOCS / "scale.md").read_text(encoding="utf-8") == page, "run `make docs`"


def test_the_pictures_fetch_nothing_and_say_what_they_show() -> None:
    pages = {
        page: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", DOCS / "report.md")
    }
    pictures = [
        (words, (page.parent / path).resolve())
        for page, text in pages.items()
        for words, path in re.findall(r"!\[([^]]*)\]\(([^)]*)\)", text)
    ]
    assert {path.name for _, path in pictures} == {"session.svg", "report.png"}
    assert all(words and path.stat().st_size < 200_000 for words, path in pictures)
    svg = (DOCS / "session.svg").read_text(encoding="utf-8")
    assert len(svg) < 100_000
    assert "comp" in svg
    elsewhere = re.findall(
        r"url\((?!#)|@import|href|<script|(?<!xmlns=\")https?:|/home/|/tmp/|/work/", svg
    )
    assert not elsewhere, "run `make pictures`"


def test_the_tests_that_the_documentation_names_exist() -> None:
    for page in [*PAGES, *ROOT.glob("*.md")]:
        for path in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


CODE = re.compile(r"`([^`]+)`")
PYTHON_FILE = re.compile(r"`([\w/]+\.py)`")


def table_rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of a page's table, which is found by the first words of its heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = text.partition(f"| {heading}")[2].partition("\n\n")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_the_files_in_the_table_of_rooms_exist() -> None:
    rows = table_rows("ARCHITECTURE.md", "room |")
    package = ROOT / "competition"
    rooms = {room.strip("`/") for room, _ in rows}
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert {room.split("/")[0] for room in rooms} == folders

    for room, cell in rows:
        folder = package / room.strip("`")
        there = {path.stem for path in folder.rglob("*.py")}
        there |= {f"{path.name}/" for path in folder.rglob("*") if path.is_dir()}
        named = {name for name in CODE.findall(cell) if re.fullmatch(r"[a-z_0-9]+/?", name)}
        assert named, room
        assert named <= there, f"{room} has no {sorted(named - there)}"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_code_that_pages_for_developers_name_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {path for path in PYTHON_FILE.findall(text) if "/" in path}
    assert len(named) > 5
    assert not [path for path in named if not code_file(path)]


def code_file(path: str) -> Path | None:
    """Return the file of a path from the repository's root or from the package's."""
    places = (folder / path for folder in (ROOT, ROOT / "competition"))
    return next((place for place in places if place.is_file()), None)


@pytest.mark.parametrize("row", table_rows("CONTRIBUTING.md", "I want to"), ids=lambda row: row[0])
def test_the_files_and_names_to_start_a_change_from_exist(row: list[str]) -> None:
    folder, texts = "", []
    for path in PYTHON_FILE.findall(row[1]):
        # `class_metrics.py` after `scoring/ranking_metrics.py` lies beside it.
        folder = path.rpartition("/")[0] or folder
        file = code_file(path if "/" in path else f"{folder}/{path}")
        assert file, path
        texts.append(file.read_text(encoding="utf-8"))

    for path in re.findall(r"`([a-z_/]+/)`", row[1]):
        places = [root / path for root in (ROOT, ROOT / "competition") if (root / path).is_dir()]
        assert places, path
        texts += [file.read_text("utf-8") for file in places[0].glob("*.py")]

    names = re.findall(r"`(\w+)`", row[1])
    assert not [name for name in names if name != "grep" and not any(name in t for t in texts)]


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [
                re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings
            ]
