"""Machine translation by a MarianMT model (Junczys-Dowmunt et al. 2018), batched by length."""

from collections.abc import Iterator, Sequence

import torch
from transformers import MarianMTModel, MarianTokenizer

import competition.models.encoder.quiet  # noqa: F401
from competition.core.console import Progress
from competition.core.errors import CompError

TOKEN_BUDGET = 4_096  # of a batch, with its padding
SAVE_EVERY = 10_000  # texts


class Translator:
    """A model that is loaded once. Nothing is drawn.

    What a text is batched with moves its scores by rounding alone.
    """

    def __init__(self, source: str) -> None:
        """Load from a folder or by name.

        Raises:
            CompError: the model is not there or is not a MarianMT model.
        """
        try:
            model, report = MarianMTModel.from_pretrained(
                source, weights_only=True, dtype=torch.float32, output_loading_info=True
            )
            if report["missing_keys"]:
                raise ValueError(f"its weights lack {sorted(report['missing_keys'])[0]}")
            self._tokenizer = MarianTokenizer.from_pretrained(source)
        except Exception as error:
            # Whatever the library or the network raises, the way out is the same.
            reason = str(error).strip().split("\n")[0]
            raise CompError(
                f"The translation model {source!r} cannot be loaded ({reason}): download its files (config.json, "
                "vocab.json, source.spm, target.spm, weights) where there is a network, Helsinki-NLP/opus-mt-es-en for "
                "Spanish, and put the path of their folder into `translate_with`."
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.eval().to(self._device)

    def translate(self, texts: Sequence[str], bar: Progress) -> Iterator[dict[str, str]]:
        """Yield text -> translation, in portions of about SAVE_EVERY texts."""
        ids = self._tokenizer(list(texts), truncation=True)["input_ids"]
        done: dict[str, str] = {}
        for group in group_by_length([len(tokens) for tokens in ids]):
            tokens = {"input_ids": [ids[i] for i in group]}
            batch = self._tokenizer.pad(tokens, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                answers = self._model.generate(**batch, do_sample=False)

            translations = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
            done |= {texts[i]: text for i, text in zip(group, translations, strict=True)}
            bar.advance(len(group))
            if len(done) >= SAVE_EVERY:
                yield done
                done = {}
        if done:
            yield done


def group_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Return groups of similar length, each of at most TOKEN_BUDGET tokens with its padding, the longest first."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # The first of a group is its longest.
        if not groups or (len(groups[-1]) + 1) * lengths[groups[-1][0]] > TOKEN_BUDGET:
            groups.append([])
        groups[-1].append(i)
    return groups
