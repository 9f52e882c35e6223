"""Measure how the package reads: `python docs/air.py [FOLDER …]`, lines per hundred and functions.

Tests are left out. The last line of a table is the package as a whole.
"""

import ast
import io
import statistics
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

LONG = 100  # characters


@dataclass
class Air:
    """Counts over some files."""

    lines: int = 0
    blank: int = 0  # inside functions
    comments: int = 0  # that fill a line
    long: int = 0
    pairs: int = 0  # assignments such as `a, b = x, y`
    functions: list[int] = field(default_factory=list)  # lines of each body with its docstring

    def add(self, source: str) -> None:
        """Count one file."""
        lines, tree = source.splitlines(), ast.parse(source)
        inside: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # Blank lines of a docstring are no air between thoughts.
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body:
                    inside |= set(range(body[0].lineno, node.end_lineno or 0))
                self.functions.append((node.end_lineno or 0) - node.body[0].lineno + 1)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                self.pairs += isinstance(node.value, ast.Tuple)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        starts = [token.start for token in tokens if token.type == tokenize.COMMENT]
        self.lines += len(lines)
        self.blank += sum(not lines[number - 1].strip() for number in inside)
        self.comments += sum(not lines[line - 1][:column].strip() for line, column in starts)
        self.long += sum(len(line) > LONG for line in lines)

    def row(self, name: str) -> str:
        """Return a line of the table."""
        counts = (self.blank, self.comments, self.long, self.pairs)
        shares = (f"{100 * count / max(1, self.lines):.2f}" for count in counts)
        middle = statistics.median(self.functions or [0])
        return f"| {name} | {self.lines:,} | {' | '.join(shares)} | {middle:.0f} |"


def main(folders: list[Path]) -> None:
    """Print a row per room and one of all."""
    print("| lines per hundred | lines | blank inside functions | full-line comments |", end="")
    print(
        f" over {LONG} characters | tuple assignments | median function |\n|---" + "|---" * 6 + "|"
    )
    total = Air()
    for folder in folders:
        air = Air()
        for path in sorted(folder.rglob("*.py")):
            air.add(path.read_text(encoding="utf-8"))
            total.add(path.read_text(encoding="utf-8"))
        print(air.row(folder.name))
    print(total.row("all"))


if __name__ == "__main__":
    package = Path(__file__).parents[1] / "competition"
    rooms = sorted(path for path in package.iterdir() if (path / "__init__.py").is_file())
    main([Path(name) for name in sys.argv[1:]] or rooms)
