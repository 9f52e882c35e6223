"""Draw the rooms of the package and who imports whom: `python docs/rooms.py` writes docs/rooms.svg.

Rooms, their order and their sentences come from the code: `pyproject.toml` has the order that
import-linter holds, each room's `__init__.py` the sentence, its import statements the marks.
"""

import ast
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"

LINE = 34  # pixels between two rooms
NAMES = 470  # pixels for a room and its sentence
CELL = 54  # pixels of a column of numbers
TOP = 54  # pixels above the first room


def rooms() -> list[str]:
    """Return the names of the rooms, in the order in which data flow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers: list[str] = project["tool"]["importlinter"]["contracts"][0]["layers"]
    return [layer.removeprefix("competition.") for layer in reversed(layers)]


def sentence(room: str) -> str:
    """Return what a room says that it does."""
    source = (ROOT / "competition" / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def imports(room: str) -> set[str]:
    """Return the rooms that a room imports from, itself included."""
    order = rooms()
    names_of_rooms: set[str] = set()
    for path in sorted((ROOT / "competition" / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names][:1]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                package, *rest = name.split(".")
                if package == "competition" and rest[0] in order:
                    names_of_rooms.add(rest[0])
    return names_of_rooms


def draw() -> str:
    """Return the picture as SVG: a line per room, with a mark for each room that it imports from."""
    order = rooms()
    width, height = NAMES + CELL * len(order) + 10, TOP + LINE * len(order) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="10" y="20" fill="#555555">Data flow downwards; a room imports only from rooms '
        "above it, where marked.</text>",
    ]

    # A column per room that is imported from.
    for column, name in enumerate(order):
        x = NAMES + CELL * column + CELL / 2
        parts.append(f'<text x="{x}" y="{TOP - 8}" text-anchor="middle">{name}</text>')

    for line, name in enumerate(order):
        y = TOP + LINE * line
        parts.append(
            f'<rect x="6" y="{y + 3}" width="86" height="{LINE - 6}" rx="5" fill="#dbe9f6" '
            f'stroke="#4878a8"/><text x="49" y="{y + 21}" text-anchor="middle">{name}</text>'
            f'<text x="102" y="{y + 21}" fill="#333333" font-size="11">'
            f"{escape(sentence(name)[:68])}</text>"
        )
        imported = imports(name)
        for column, other in enumerate(order):
            x = NAMES + CELL * column
            marked = other in imported and column != line
            fill = "#eeeeee" if column == line else "#fbe3c0" if marked else "#ffffff"
            mark = "●" if marked else ""
            parts.append(
                f'<rect x="{x + 2}" y="{y + 3}" width="{CELL - 4}" height="{LINE - 6}" '
                f'fill="{fill}"/><text x="{x + CELL / 2}" y="{y + 21}" '
                f'text-anchor="middle">{mark}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
