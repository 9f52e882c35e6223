"""The ONNX forms of an export: the same in fp32, compared by its scores in int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.models.exported.folder import DYNAMIC, FP32, ONNX, STATIC
from competition.pipeline.exporting.certificate import SAME_GRAPH, Reference, check_same
from competition.pipeline.exporting.sample import Sample
from competition.scoring.task import Kind

if TYPE_CHECKING:
    from competition.pipeline.exporting.export import Exported


def write_graphs(
    folder: Path, kind: Kind, reference: Reference, others: Sample, exported: Exported
) -> None:
    """Write the classifier of a folder as graphs, in fp32 and int8.

    Args:
        folder: with the classifier.
        kind: of its outputs.
        reference: what the graphs are compared with.
        others: rows by which the ranges of the static graph are found.
        exported: is told of each form.

    Raises:
        CompError: the graph in fp32 differs from the run.
    """
    from transformers import AutoTokenizer

    from competition.models.exported import graphs
    from competition.models.exported.runner import outputs_of
    from competition.pipeline.exporting.export import keep_or_remove

    graphs.check_installed()
    target = folder / ONNX
    target.mkdir()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def outputs(name: str) -> Any:
        runner = graphs.GraphRunner(target / name, tokenizer)
        return outputs_of(kind, runner.logits(reference.sample.pairs))

    whole = target / FP32
    graphs.write_graph(folder, whole)
    path = f"{ONNX}/{FP32}"
    exported.forms.append(check_same(reference.compare("ONNX", path, outputs(FP32), SAME_GRAPH)))

    pairs = others.pairs or reference.sample.pairs
    quantised: dict[str, tuple[str, Callable[[Path], None]]] = {
        "ONNX int8, dynamic": (
            DYNAMIC,
            lambda to: graphs.write_dynamic_int8(whole, to),
        ),
        "ONNX int8, static": (
            STATIC,
            lambda to: graphs.write_static_int8(whole, to, tokenizer, pairs),
        ),
    }
    for name, (file, write) in quantised.items():
        write(target / file)
        form = reference.compare(name, f"{ONNX}/{file}", outputs(file), tolerance=None)
        keep_or_remove(folder, form, exported)
