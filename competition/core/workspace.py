"""The paths of a workspace: every file that is read or written has its place here."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from competition.core.commands import shell_quoted
from competition.core.errors import CompError, InputError
from competition.core.locks import hold_lock

SCHEMA = 2  # raise it when the meaning of an artefact changes: everything made before is then out of date
ALL_ROWS = "all"  # instead of a fold: the model of all training rows
FOLDERS = ("data", "folds", "models", "oof", "reports", "submissions")
DATA_LOCK = "data"  # the lock of what all steps read: imports hold it alone


class Workspace:
    """Every path of one workspace folder."""

    def __init__(self, root: Path, paths_from: Path | None = None) -> None:
        self.root = Path(root)
        # Where relative paths in settings and recipes start; of a copy, the folder that was copied.
        self.paths_from = self.root if paths_from is None else paths_from
        self.settings_file = self.root / "competition.toml"
        self.recipe_folder = self.root / "recipes"
        self.examples = self.root / "data" / "examples.parquet"
        self.products = self.root / "data" / "products.parquet"
        self.data_card = self.root / "data" / "data.json"
        self.vocabulary = self.root / "data" / "vocabulary"
        self.gram_vectors = self.root / "data" / "char3"
        self.grams = self.root / "data" / "grams"
        self.text_features = self.root / "data" / "text_features.parquet"
        self.planted = self.root / "data" / "planted.parquet"
        self.members = self.root / "members"
        self.unlabelled = self.root / "data" / "unlabelled.parquet"
        self.models = self.root / "models"
        self.unfinished = self.models / "checkpoints"
        self.oof = self.root / "oof"
        self.submissions = self.root / "submissions"
        self.leaderboard = self.submissions / "leaderboard.csv"
        self.tracking = self.root / "reports" / "tracking"
        self.scores = self.root / "reports" / "scores.csv"
        self.optimism = self.root / "reports" / "flattery.json"
        self.report = self.root / "reports" / "report.html"
        self.running = self.root / ".locks" / "running"

    @classmethod
    def open(cls, root: Path, paths_from: Path | None = None) -> "Workspace":
        """Open the workspace at `root`; raises InputError where there is none."""
        workspace = cls(root, paths_from)
        if not workspace.settings_file.is_file():
            raise InputError(
                f"{root} is not a workspace, it has no competition.toml: "
                f"make one with `comp init {shell_quoted(root)}`."
            )
        return workspace

    def translations(self, model: str) -> Path:
        """Return the file of the translations by a model."""
        return self.root / "data" / "translations" / f"{model}.parquet"

    def tokens(self, tokenizer: str) -> Path:
        """Return the token ids of all texts by the tokenizer of this fingerprint."""
        return self.root / "data" / "tokens" / tokenizer

    def folds(self, scheme: str) -> Path:
        """Return the file of the fold of each query."""
        return self.root / "folds" / f"{scheme}.parquet"

    def encoder(self, name: str) -> Path:
        """Return the folder of an encoder."""
        return self.models / "encoders" / name

    def encoder_log(self, name: str) -> Path:
        """Return the log of a pre-training."""
        return self.models / "encoders" / f"{name}.log.jsonl"

    def model(self, run: str, fold: int | str) -> Path:
        """Return the folder of the model of a fold, or of that of all training rows."""
        return self.models / run / (ALL_ROWS if fold == ALL_ROWS else f"fold-{fold}")

    def fitted(self, run: str) -> Path:
        """Return the folder of what an ensemble learned for a task."""
        return self.models / run / "fitted"

    def checkpoints(self, name: str, part: str) -> Path:
        """Return the checkpoints of the unfinished training of a fold, or of the `encoder` that a recipe pre-trains."""
        return self.unfinished / name / part

    def run(self, run: str) -> Path:
        """Return the folder of the predictions of a run."""
        return self.oof / run

    def member(self, name: str) -> Path:
        """Return the outputs of all rows that another tool made."""
        return self.members / f"{name}.parquet"

    def oof_fold(self, run: str, fold: int) -> Path:
        """Return the predictions of the rows held out in a fold."""
        return self.oof / run / f"fold-{fold}.parquet"

    def test_fold(self, run: str, fold: int) -> Path:
        """Return the predictions of all test rows by the model of a fold."""
        return self.oof / run / f"test-{fold}.parquet"

    def pair(self, run: str, folds: tuple[int, ...]) -> Path:
        """Return the predictions of a nested model, which leaves out two folds."""
        return self.oof / run / f"pair-{'-'.join(map(str, folds))}.parquet"

    def run_card(self, run: str) -> Path:
        """Return the manifest of a run."""
        return self.oof / run / "run.json"

    def log(self, run: str) -> Path:
        """Return the training log of a run."""
        return self.oof / run / "log.jsonl"

    def importance(self, run: str) -> Path:
        """Return the gain of each feature of an ensemble that learns trees."""
        return self.oof / run / "importance.parquet"

    def noise(self, run: str, fold: int | None = None) -> Path:
        """Return the flags of an audit; of a nested one those for the training of a fold."""
        return self.oof / run / ("noise.parquet" if fold is None else f"noise-{fold}.parquet")

    def noise_card(self, run: str, fold: int | None = None) -> Path:
        """Return the summary of an audit."""
        return self.noise(run, fold).with_suffix(".json")

    def reviews(self, run: str) -> Path:
        """Return people's reviews of the rows that an audit flags."""
        return self.oof / run / "verdicts.parquet"

    def review_page(self, run: str) -> Path:
        """Return the page on which people review an audit."""
        return self.root / "reports" / f"noise-{run}.html"

    def ablation(self, table: str, fold: int | None) -> Path:
        """Return the table of an ablation, of one fold or of all."""
        part = "" if fold is None else f"-fold-{fold}"
        return self.root / "reports" / f"ablation-{table}{part}.csv"

    def tuning(self, recipe: str, search: str) -> Path:
        """Return the table of the trials of a search that starts from a recipe."""
        return self.root / "reports" / f"tune-{recipe}-{search}.csv"

    def curve(self, ensemble: str) -> Path:
        """Return the table of a learning curve; its picture lies beside it."""
        return self.root / "reports" / f"curve-{ensemble}.csv"

    def stack_table(self, ensemble: str) -> Path:
        """Return the table of what each method and member of an ensemble scores."""
        return self.root / "reports" / f"stack-{ensemble}.csv"

    def submission(self, name: str) -> Path:
        """Return the folder of a submission."""
        return self.submissions / name

    def check_space(self, size: int, work: str) -> None:
        """Raise CompError where the disk has less room than the `size` bytes that `work` is about to write."""
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise CompError(
                f"{work} writes about {size / 1e9:,.2f} GB, and the disk of {self.root} has {free / 1e9:,.2f} GB left: "
                "make room first."
            )

    def lock(
        self, name: str, wait: bool = False, shared: bool = False
    ) -> AbstractContextManager[None]:
        """Hold the lock `name` of this workspace, see `locks.hold_lock`.

        DATA_LOCK is shared by all that work with the data.
        """
        file = f"{name.replace('/', '_').replace(' ', '-')}.lock"
        return hold_lock(self.root / ".locks" / file, name, wait, shared)
