"""A translation model of random weights, small enough for seconds and real in every other respect."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

READS = 96  # tokens of a text; what is longer is cut
LONGEST = 12  # tokens of a translation


def make_marian(folder: Path, texts: Iterable[str]) -> None:
    """Write a MarianMT folder that reads `texts`: sentencepiece models of both sides, one vocabulary, one layer."""
    folder.mkdir(parents=True)
    corpus = list(texts)
    for side in ("source", "target"):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus),
            model_writer=model,
            vocab_size=200,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (folder / f"{side}.spm").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    known = {pieces.id_to_piece(i) for i in range(len(pieces))} - {"<unk>", "<s>", "</s>"}
    words = ["</s>", "<unk>", *sorted(known), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    settings = {"source_lang": "es", "target_lang": "en", "model_max_length": READS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    padding = len(words) - 1
    special = {"pad_token_id": padding, "eos_token_id": 0, "decoder_start_token_id": padding}
    config = MarianConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=READS,
        init_std=1.0, forced_eos_token_id=0, **special,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)  # one that tells texts apart
        model = MarianMTModel(config)
    limits = {
        "max_length": LONGEST,
        "bad_words_ids": [[padding]],
        "forced_eos_token_id": 0,
        "num_beams": 2,
    }
    model.generation_config = GenerationConfig(**special, **limits)
    model.save_pretrained(folder)
