"""Where a user's time goes: the demo, a real sample, status and prediction, each by stage.

    python -m benchmarks.journey [--data FOLDER] [--queries N] [--against CHECKOUT] [--parts demo real]

The demo is `comp data sample` and `comp run`; the real part the same on released files, with the
settings of `comp init`, of at most N queries of each split so that a round is affordable. Then
`comp status`, and `comp predict` of 1 and of 1,000 rows: cold, with none of the workspace's files
in memory, and warm. With a second checkout, each command runs with either code in turn, in a
workspace of its own. Times of the processor mean more than those of the wall on a machine with
other work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent.parent
EXAMPLES, PRODUCTS = (
    f"shopping_queries_dataset_{kind}.parquet" for kind in ("examples", "products")
)
SMALLEST = 0.05  # seconds of the wall that a stage takes to be shown
MIB = 1 << 20


@dataclass
class Code:
    """A checkout and the workspaces that it works in."""

    name: str
    checkout: Path
    folder: Path
    reports: dict[str, tuple[dict[str, list[float]], int]] = field(default_factory=dict)

    def comp(self, title: str, workspace: str, *command: str) -> None:
        """Run a command; keep its seconds by stage and its peak memory under a title."""
        place = self.folder / workspace
        place.mkdir(parents=True, exist_ok=True)
        report = self.folder / "report.json"
        called = [sys.executable, str(HERE / "benchmarks" / "stopwatch.py"), str(report), *command]
        # The package is the code's; the stopwatch's own folder must not be searched.
        searched = {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1"}
        with subprocess.Popen(
            called, cwd=place, env=os.environ | searched,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.name}: comp {' '.join(command)}: {said[-2000:]}")
        self.reports[title] = (json.loads(report.read_text()), usage.ru_maxrss * 1024)


def forget(folder: Path) -> None:
    """Let the system drop what it holds of a folder's files in memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def write_part(source: Path, target: Path, queries: int) -> None:
    """Write the released files with the first queries of each split alone."""
    import pandas as pd  # not above: a command's peak memory counts what this process held

    examples = pd.read_parquet(source / EXAMPLES)
    products = pd.read_parquet(source / PRODUCTS)
    first = examples.drop_duplicates("query_id").groupby("split").head(queries)["query_id"]
    examples = examples[examples["query_id"].isin(first)]
    listed = examples[["product_locale", "product_id"]].drop_duplicates()
    target.mkdir(parents=True)
    examples.to_parquet(target / EXAMPLES)
    products.merge(listed).to_parquet(target / PRODUCTS)
    for path in source.glob("*.csv"):
        (target / path.name).write_bytes(path.read_bytes())


def new_rows(source: Path, target: Path, rows: int) -> None:
    """Write rows of test queries as a file that `comp predict` reads."""
    import pandas as pd

    examples = pd.read_parquet(source / EXAMPLES)
    test = examples[examples["split"] == "test"].head(rows)
    listed = test.merge(pd.read_parquet(source / PRODUCTS), on=["product_locale", "product_id"])
    listed[["query", "product_title", "product_locale"]].to_csv(target, index=False)


def journey(codes: list[Code], parts: list[str], data: Path | None, queries: int) -> Iterator[str]:
    """Run everything with each code in turn; yield the title of each command once all codes have run it."""

    def each(title: str, workspace: str, *command: str) -> str:
        for code in codes:
            if title.endswith("cold"):
                forget(code.folder / workspace)
            code.comp(title, workspace, *command)
        return title

    for code in codes:
        code.comp("init", "real", "init", ".")
        code.comp("init", "demo", "init", ".")
    yield each("comp --help", "demo", "--help")
    if "demo" in parts:
        yield each("demo: comp data sample", "demo", "data", "sample")
        yield each("demo: comp run", "demo", "run")
    workspace = "demo"
    if "real" in parts and data is not None:
        workspace = "real"
        source = codes[0].folder / "raw"
        write_part(data, source, queries)
        yield each("real: comp data import", workspace, "data", "import", str(source))
        yield each("real: comp run", workspace, "run")
    yield each("comp status, cold", workspace, "status")
    yield each("comp status", workspace, "status")
    for rows in (1, 1000) if data is not None else ():
        file = codes[0].folder / f"new-{rows}.csv"
        new_rows(data, file, rows)
        for heat in (", cold", ""):
            target = str(codes[0].folder / f"scored{heat}-{rows}.csv")
            yield each(
                f"comp predict, {rows:,} rows{heat}",
                workspace,
                "predict",
                str(file),
                "--out",
                target,
            )


def show(title: str, codes: list[Code]) -> None:
    """Print the table of a command: seconds of wall and processor by stage, for each code."""
    reports = [code.reports[title] for code in codes]
    whole = []
    for code, (times, memory) in zip(codes, reports, strict=True):
        wall, processor = (sum(seconds) for seconds in zip(*times.values(), strict=True))
        held = f"{memory / MIB:,.0f} MiB"
        whole.append(f"{code.name} {wall:.2f} s, {processor:.2f} s of the processor, {held}")
    print(f"\n**{title}**: {'; '.join(whole)}", flush=True)
    stages = {
        stage for times, _ in reports for stage, (wall, _) in times.items() if wall >= SMALLEST
    }
    if not stages:
        return
    print("\n| stage | " + " | ".join(f"{code.name}, wall | processor" for code in codes) + " |")
    print("|---" * (1 + 2 * len(codes)) + "|")
    first = reports[0][0]
    for stage in sorted(stages, key=lambda stage: -first.get(stage, [0.0])[0]):
        cells = [
            f"{seconds:.2f}" for times, _ in reports for seconds in times.get(stage, (0.0, 0.0))
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with ESCI's released files")
    parser.add_argument("--queries", type=int, default=1_000_000, help="of each split, at most")
    parser.add_argument("--against", type=Path, help="another checkout, run in alternation")
    parser.add_argument("--parts", nargs="*", default=["demo", "real"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        codes = [Code("this", HERE, Path(folder) / "this")]
        if asked.against:
            codes.insert(0, Code("before", asked.against.resolve(), Path(folder) / "before"))
        for title in journey(
            codes, asked.parts, asked.data and asked.data.resolve(), asked.queries
        ):
            show(title, codes)


if __name__ == "__main__":
    main()
