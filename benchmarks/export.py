"""An exported classifier in int8 beside sentence-transformers in fp32: processor time for 40 candidates.

    OMP_NUM_THREADS=1 python -m benchmarks.export [rounds]

A classifier of MiniLM's size (6 layers of 384, random weights) is asked for one query and 40
candidates of about 100 tokens, one thread each. The forms take turns in one process. The ratios are
those of each round to CrossEncoder's, the median with the smallest and largest: of the time of the
processor, of which other work on the machine decides little, and of the time that passed. Needs the
extras `export` and `bench`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
from transformers import PreTrainedTokenizerFast as FastTokenizer

from competition.models.exported import graphs

CANDIDATES, WORDS, VOCABULARY = 40, 97, 30_000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZE = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def write_classifier(folder: Path) -> None:
    """Write a BERT of MiniLM's size whose tokens are numbers."""
    words = [*SPECIAL, *map(str, range(VOCABULARY))]
    vocabulary = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    FastTokenizer(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), num_labels=1, **SIZE)
    BertForSequenceClassification(config).eval().save_pretrained(folder)


def main(rounds: int) -> None:
    """Measure and print a table."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    texts = rng.integers(0, VOCABULARY, (CANDIDATES, WORDS)).astype(str)
    pairs = [("1 2", " ".join(words)) for words in texts]
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_classifier(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        whole, dynamic, static = (folder / file for file in ("fp32", "dynamic", "static"))
        graphs.write_graph(folder, whole)
        graphs.write_dynamic_int8(whole, dynamic)
        graphs.write_static_int8(whole, static, tokenizer, pairs)

        peer = CrossEncoder(str(folder), device="cpu")
        forms: dict[str, Callable[[], object]] = {
            "CrossEncoder fp32": lambda: peer.predict(pairs, show_progress_bar=False)
        }
        for form, file in {"fp32": whole, "int8, dynamic": dynamic, "int8, static": static}.items():
            runner = graphs.GraphRunner(file, tokenizer, threads=1)
            forms[f"ONNX {form}"] = lambda runner=runner: runner.logits(pairs)
        processor: dict[str, list[float]] = {form: [] for form in forms}
        passed: dict[str, list[float]] = {form: [] for form in forms}
        for number in range(rounds + 1):
            for form, logits in forms.items():
                begin = time.process_time(), time.perf_counter()
                logits()
                if number:  # the first round warms up
                    processor[form].append(time.process_time() - begin[0])
                    passed[form].append(time.perf_counter() - begin[1])

    print("| form | ms of CPU | times as fast as CrossEncoder | ms passed | times as fast |")
    print("|---|---|---|---|---|")
    for form in forms:
        cells = [f"{1e3 * median(of[form]):,.0f} | {ratio(of, form)}" for of in (processor, passed)]
        print(f"| {form} | {' | '.join(cells)} |")


def ratio(times: dict[str, list[float]], form: str) -> str:
    """Return how many times as fast a form is as the first one, round by round."""
    plain = next(iter(times.values()))
    ratios = [one / other for one, other in zip(plain, times[form], strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
