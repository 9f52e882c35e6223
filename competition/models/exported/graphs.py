"""An exported classifier as an ONNX graph, in fp32 and in int8 (extra `export`)."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import competition.models.encoder.quiet  # noqa: F401
from competition.core.arrays import Array
from competition.core.errors import InputError
from competition.models.exported.first_token import read_first_token_alone
from competition.models.exported.folder import FP32
from competition.models.exported.runner import Pair, PairReader

OPSET = 20  # the first that has GELU as one operation
# Pairs at a time: what lies between two matrices of a layer then stays in the processor's cache,
# which counts where int8 leaves little else to wait for.
AT_ONCE = 4
CALIBRATED = 64  # pairs, by which the ranges of a static graph are found


class _Logits(nn.Module):
    """A classifier as a function of tensors in the order of its inputs' names."""

    def __init__(self, classifier: Any, names: list[str]) -> None:
        super().__init__()
        self.classifier = classifier
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits, `(batch, labels)`."""
        logits: Tensor = self.classifier(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def check_installed() -> None:
    """Refuse to go on without the extra; raises InputError with the command that installs it."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"ONNX needs {error.name}, which is not installed: `pip install comp-relevance[export]`."
        ) from None
    _ = onnx, onnxruntime


def write_graph(source: Path, target: Path) -> None:
    """Write the classifier of a folder as a graph in fp32, optimised, for any number and length of pairs."""
    import onnx
    import onnxruntime

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    classifier = AutoModelForSequenceClassification.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()
    names = list(tokenizer.model_input_names)
    # Of several lengths and sizes: what is 1 in an example would be taken for fixed.
    example = tokenizer(
        [["red shoe", "a red shoe"], ["lamp", "oak"], ["x", "y"]], padding=True, return_tensors="pt"
    )
    axes = {0: torch.export.Dim("pairs", min=1), 1: torch.export.Dim("tokens", min=2)}
    with TemporaryDirectory() as folder, _quiet():
        plain = Path(folder) / FP32
        torch.onnx.export(
            _Logits(classifier, names),
            tuple(example[name] for name in names),
            plain,
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple(axes for _ in names),),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        optimised = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])

        graph = onnx.load(optimised)
    for node in graph.graph.node:
        # Paths and lines of this machine.
        del node.metadata_props[:]
    read_first_token_alone(graph.graph)
    onnx.save(graph, target)


def write_dynamic_int8(source: Path, target: Path) -> None:
    """Write a graph with weights in int8, whose activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


def write_static_int8(source: Path, target: Path, tokenizer: Any, pairs: Sequence[Pair]) -> None:
    """Write a graph in int8 whose activations have the ranges that they had for real pairs."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the pairs one batch at a time."""

        def __init__(self) -> None:
            batches = PairReader(tokenizer).batches(pairs[:CALIBRATED])
            self._batches = (batch for _, batch in batches)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch, None behind the last."""
            return next(self._batches, None)

    with _quiet():
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


class GraphRunner:
    """A graph, with the tokenizer of its folder, on the CPU."""

    def __init__(self, graph: Path, tokenizer: Any, threads: int = 0) -> None:
        """Load a graph; `threads` 0 is as many as torch has."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self.tokens = 0
        self._reader = PairReader(tokenizer)
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def logits(self, pairs: Sequence[Pair]) -> Array:
        """Return the logits of pairs, `(pairs, labels)`."""
        (output,) = self._session.get_outputs()
        logits: Array = np.empty((len(pairs), output.shape[1]))
        for places, batch in self._reader.batches(pairs, AT_ONCE):
            (logits[places],) = self._session.run(None, batch)
            self.tokens += int(batch["attention_mask"].sum())
        return logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from reporting what they do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
