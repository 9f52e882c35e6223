"""All messages of the package, collected in `tests/messages.txt` for a reviewer to read.

After a change, rewrite the file with `python -m tests.test_messages` and read the difference.
"""

import ast
import difflib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "competition"
SNAPSHOT = Path(__file__).with_name("messages.txt")
REWRITE = "python -m tests.test_messages"

# Calls whose text reaches the user: errors, warnings, and what commands print.
SPEAKERS = {"InputError", "CompError", "warn", "refuse_rows", "console.print"}

# Words that only this project used in this sense -> what the field says.
DIALECT = {
    r"\banew\b": "again; rebuilds",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bobey(s|ed)?\b": "follow, apply",
    r"\b(is|are) told\b": "gets",
    r"\bno whole number\b": "not an integer",
    r"\bis there twice\b": "is duplicated",
    r"\bis no (?!longer\b)[a-z]+[.,:;]": "is not a …",
    r"\bis level with\b": "does not differ from",
    r"\bspeaks of\b": "says, has",
    r"\bthe floor\b": "the lexical baseline",
    r"\bsees to\b": "makes",
}


def text_of(node: ast.expr) -> Iterator[str]:
    """Yield the strings of an expression, `{}` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield "".join(map(str, parts))
    elif not isinstance(node, ast.Call | ast.Lambda | ast.Subscript | ast.Compare):
        # Either branch of a condition, both sides of a sum, the elements of a list.
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from text_of(child)


def callee(node: ast.Call) -> str:
    """Return the last two names of what is called: `console.print`, `InputError`."""
    return ".".join(ast.unparse(node.func).split(".")[-2:])


def is_command(node: ast.AST) -> bool:
    """Return whether a function is a command of `comp`, whose docstring is its help."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(
        isinstance(call, ast.Call) and callee(call).endswith((".command", ".callback"))
        for call in decorators
    )


def messages_of(source: str) -> Iterator[str]:
    """Yield the messages of a module, each on one line."""
    for node in ast.walk(ast.parse(source)):
        texts: list[str] = []
        if isinstance(node, ast.FunctionDef) and is_command(node):
            texts.append(ast.get_docstring(node) or "")
        elif isinstance(node, ast.Call):
            if callee(node).split(".")[-1] in SPEAKERS or callee(node) in SPEAKERS:
                texts += [text for argument in node.args for text in text_of(argument)]
            helps = (keyword.value for keyword in node.keywords if keyword.arg == "help")
            texts += [text for value in helps for text in text_of(value)]

        for text in texts:
            line = " ".join(text.split())
            # A name, a path or a sign alone is not a sentence.
            if re.search(r"[A-Za-z]{2,} [^ ]", line):
                yield line


@functools.cache
def all_messages() -> list[str]:
    """Return the messages of the package, sorted."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found.update(messages_of(path.read_text(encoding="utf-8")))
    return sorted(found)


def test_the_messages_are_those_of_the_snapshot() -> None:
    recorded = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    difference = "\n".join(
        difflib.unified_diff(recorded, all_messages(), "messages.txt", "competition/", n=0)
    )
    assert not difference, f"{difference}\n\nRewrite the snapshot: `{REWRITE}`"


def test_messages_use_the_words_of_the_field() -> None:
    wrong = [
        f"{match[0]!r} (say {better!r}): {message}"
        for message in all_messages()
        for pattern, better in DIALECT.items()
        if (match := re.search(pattern, message, re.IGNORECASE))
    ]
    assert not wrong, "\n".join(wrong)


def test_messages_are_found_where_they_are_written() -> None:
    source = '''
@app.command(epilog="x")
def run(a: Annotated[int, typer.Option(help="How many.")]) -> None:
    """Run all.

    In order.
    """
    raise InputError(f"{path} is not a " + ("file." if a else f"folder of {b}."))
    console.print("Nothing", "to be done")
    log("not a message")
'''
    assert set(messages_of(source)) == {
        "How many.",
        "Run all. In order.",
        "{} is not a",
        "folder of {}.",
        "to be done",
    }


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(all_messages()) + "\n", encoding="utf-8")
