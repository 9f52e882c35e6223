"""Makes the README's pictures from a demo that runs in a folder of its own: a session, and the top of its report.

make pictures
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from rich.console import Console
from rich.text import Text

from competition.core import console

HERE = Path(__file__).parent
ROOT = HERE.parent
WIDTH = 104  # columns of the terminal
REPORT = (1400, 1010)  # pixels
# Each command with what is shown of its output: from the first line that holds a text on, so many
# lines.
SESSION: dict[str, Sequence[tuple[str, int]]] = {
    "comp data sample": (("Data", 6),),
    "comp run": (
        ("[1/", 5),
        ("train b1 fold 0", 3),
        ("audit lexical", 2),
        ("task1: ", 5),
        ("Submission:", 6),
    ),
    "comp status": (("Runs by fold", 8), ("done", 2)),
}


def session() -> str:
    """What goes to stdout, as SVG that fetches nothing: Rich's own asks for a font from the network."""
    terminal = recorder()
    for command, parts in SESSION.items():
        terminal.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        for line in cut(run(command), parts):
            terminal.print(line)
        terminal.print()
    svg = terminal.export_svg(title="comp", unique_id="session")
    svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "ui-monospace, monospace")


def recorder() -> Console:
    """A console that keeps what is printed."""
    return Console(record=True, file=StringIO(), width=WIDTH, highlight=False, markup=False)


def run(command: str) -> list[Text]:
    """What a command prints, line by line, in its colors."""
    from competition.cli import (
        app,
    )  # after the consoles are replaced, which its modules import by name

    app(shlex.split(command)[1:], standalone_mode=False)
    return Text.from_ansi(console.console.export_text(styles=True)).split("\n", allow_blank=True)


def cut(lines: list[Text], parts: Sequence[tuple[str, int]]) -> Iterator[Text]:
    """The lines that are shown, and how many are left out between them."""
    shown = 0
    for text, count in parts:
        start = next(i for i, line in enumerate(lines) if i >= shown and text in line.plain)
        if start > shown:
            yield Text(f"⋮ {start - shown} lines", "dim")
        yield from lines[start : start + count]
        shown = start + count


def photograph(page: Path, file: Path) -> None:
    """The top of a page as PNG."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no browser: on Debian, `apt-get install chromium` brings one")
    size = ",".join(map(str, REPORT))
    options = [
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={size}",
        f"--screenshot={file}",
    ]
    if os.geteuid() == 0:  # Chromium's sandbox refuses to work for root
        options.append("--no-sandbox")
    subprocess.run([chromium, *options, page.resolve().as_uri()], check=True, capture_output=True)
    with Image.open(file) as picture:  # so many colors suffice, in a third of the bytes
        picture.quantize(128).save(file, optimize=True)


def main() -> None:
    """Write `session.svg` and `report.png`."""
    console.console = console.results = recorder()  # one, so that the lines of both stay in order
    with TemporaryDirectory() as folder:
        demo = Path(folder) / "demo"  # the report shows the name
        demo.mkdir()
        shutil.copy(ROOT / "competition.toml", demo)
        os.chdir(demo)
        (HERE / "session.svg").write_text(session(), encoding="utf-8")
        run("comp report")
        photograph(Path("reports/report.html"), HERE / "report.png")
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
