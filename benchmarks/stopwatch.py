"""Time `comp` by stage from outside: `python -m benchmarks.stopwatch REPORT COMMAND …` runs `comp COMMAND …`.

Functions of the package are wrapped when their module is imported, and imports are timed
themselves; nothing in the package knows of it. A stage's time is without that of the stages within.
"""

import builtins
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

IMPORTS, PREDICTION, REST = "imports", "prediction", "all else"
# Stage -> functions, as `module:name` or `module:class.name`.
STAGES = {
    "reading raw data": ("competition.data.esci:read", "competition.data.store:save"),
    "reading tables": ("competition.core.parquet:read_table",),
    "states of steps": ("competition.pipeline.execute:Step.state",),
    "tokens": ("competition.pipeline.build_inputs:stored_tokens", "competition.training.corpus:Corpus.make"),
    "features of text": ("competition.models.lexical.text_features:text_features",),
    "reading models": (
        "competition.models.encoder.model:RelevanceModel.make",
        "competition.training.model_files:load_model",
    ),
    "training: batches": ("competition.training.samples:Splitter.split",),
    "training: forwards": ("competition.models.encoder.model:RelevanceModel.forward",),
    "training: backwards": (
        "competition.training.device:PreciseAccelerator.backward",
        "torch.autograd:grad",
    ),
    "training: clipping": ("competition.training.device:PreciseAccelerator.clip_grad_norm_",),
    "training: optimiser": ("torch.optim.adamw:AdamW.step",),
    "training: token table": tuple(
        f"competition.training.token_rows:TokenRows.{name}"
        for name in ("step", "_catch_up", "catch_up_all")
    ),
    "training: averages": ("competition.training.optimizer:TrainingState._update_average",),
    PREDICTION: ("competition.training.predict:predict",),
    "trees": (
        "competition.models.lexical.lexical:train_lexical",
        "competition.models.ensemble.stacking:cross_fit_trees",
    ),
    "regression": ("competition.models.ensemble.logistic:cross_fit_logistic",),
    "scores and intervals": (
        "competition.pipeline.build_outputs:build_scores",
        "competition.analysis.diagnoses.judge:judge",
    ),
    "writing": (
        "competition.core.atomic:_finish",
        "competition.core.parquet:write_table",
        "competition.training.model_files:save_model",
    ),
}  # fmt: skip


class Stopwatch:
    """Seconds of the wall and of the processor by stage; of nested stages, the inner one counts."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {REST: [0.0, 0.0]}
        self._open = [REST]
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> None:
        """Give the time since the last lap to the innermost open stage."""
        now = (time.perf_counter(), time.process_time())
        spent = self.times.setdefault(self._open[-1], [0.0, 0.0])
        for i, (since, until) in enumerate(zip(self._last, now, strict=True)):
            spent[i] += until - since
        self._last = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is within as a stage; a forward within a prediction is the prediction's."""
        if PREDICTION in self._open:
            name = PREDICTION
        self.lap()
        self._open.append(name)
        try:
            yield
        finally:
            self.lap()
            self._open.pop()


class _Timed(MetaPathFinder, Loader):
    """Wraps functions as soon as their module is there, before anyone takes them by name."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self._targets: dict[str, list[tuple[str, str]]] = {}
        for stage, functions in STAGES.items():
            for function in functions:
                module, _, path = function.partition(":")
                self._targets.setdefault(module, []).append((path, stage))

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        """Find a module whose functions are timed as all other finders do, and load it here."""
        if name not in self._targets:
            return None
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(name, path, target)
            if found is not None and found.loader is not None:
                found.loader = _Wrapping(self, found.loader)
                return found
        return None

    def wrap(self, module: ModuleType) -> None:
        """Time the functions of a module."""
        for path, stage in self._targets[module.__name__]:
            owner: Any = module
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            if not hasattr(owner, name):
                continue  # an older checkout has not all of them; what it spends there is counted above
            raw = owner.__dict__.get(name) if parents else getattr(owner, name)
            if raw is None:
                raw = getattr(owner, name)  # inherited
            setattr(owner, name, self._timed(raw, stage))

    def _timed(self, raw: Any, stage: str) -> Any:
        if isinstance(raw, property):
            return property(self._timed(raw.fget, stage))
        if isinstance(raw, functools.cached_property):
            raw.func = self._timed(raw.func, stage)
            return raw
        if isinstance(raw, classmethod | staticmethod):
            return type(raw)(self._timed(raw.__func__, stage))

        @functools.wraps(raw)
        def timed(*arguments: Any, **keys: Any) -> Any:
            with self._watch.stage(stage):
                return raw(*arguments, **keys)

        return timed


class _Wrapping(Loader):
    """A module's own loader, and what it has loaded wrapped."""

    def __init__(self, timed: _Timed, loader: Any) -> None:
        self._timed = timed
        self._own = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See Loader."""
        created: ModuleType | None = self._own.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """See Loader."""
        self._own.exec_module(module)
        self._timed.wrap(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def _time_imports(watch: Stopwatch, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an import function whose time is the stage IMPORTS where it loads a module."""

    def importing(name: str, *arguments: Any, **keys: Any) -> Any:
        relative = len(arguments) > 3 and arguments[3]
        if name in sys.modules and not relative:
            return original(name, *arguments, **keys)
        with watch.stage(IMPORTS):
            return original(name, *arguments, **keys)

    return importing


def main() -> None:
    """Run a command and write its times, whatever its exit code."""
    report, *command = sys.argv[1:]
    watch = Stopwatch()
    sys.meta_path.insert(0, _Timed(watch))
    builtins.__import__ = _time_imports(watch, builtins.__import__)
    importlib.import_module = _time_imports(watch, importlib.import_module)
    sys.argv = ["comp", *command]
    try:
        from competition.__main__ import main as comp

        comp()
    finally:
        watch.lap()
        Path(report).write_text(json.dumps(watch.times), encoding="utf-8")


if __name__ == "__main__":
    main()
