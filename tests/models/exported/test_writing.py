"""The classifier of each family says what the trained model says, in the library's own class."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from competition.config.encoder_recipe import NEW_HEAD, PRETRAINED_HEAD, EncoderRecipe
from competition.config.keys import Lora
from competition.core.errors import InputError
from competition.data.layout import join_fields, make_layout
from competition.data.text import clean
from competition.models.encoder.classifiers import CLASSIFIERS
from competition.models.encoder.encoder import fetch, load_tokenizer
from competition.models.encoder.families import _DECODERS
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.exported.one_label import features_of
from competition.models.exported.runner import TorchRunner, outputs_of
from competition.models.exported.writing import average_weights, write_classifier, write_one_label
from competition.pipeline.exporting.certificate import SAME, Reference, cross_encoder_logits
from competition.pipeline.exporting.sample import Sample
from competition.scoring.task import Kind
from competition.training.corpus import Corpus
from competition.training.oom import Budget
from competition.training.predict import predict
from tests.esci import CONTEST, KINDS
from tests.rerankers import DECODERS, make_decoder, make_reranker
from tests.zoo import Zoo

RECIPE = EncoderRecipe(name="x", max_length=48, servable=True)
FIELDS = CONTEST.field_orders[RECIPE.field_order]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Rows and encoders of random weights."""
    return Zoo.open(tmp_path_factory.mktemp("zoo"))


def make_model(zoo: Zoo, family: str, kind: Kind, **keys: object) -> RelevanceModel:
    """A model of random weights, whose outputs differ from row to row."""
    recipe = RECIPE.model_copy(update={"kind": kind.name, **keys})
    model = RelevanceModel.make(recipe, kind, Sources(zoo.fetched(family)), seed=1).eval()
    with torch.no_grad():
        model.output.output.weight.mul_(10)
    return model


def reference_of(
    zoo: Zoo, folder: Path, model: RelevanceModel, recipe: EncoderRecipe = RECIPE
) -> Reference:
    """What comp says of the rows, which it reads with the tokenizer of an encoder's folder."""
    kind = model.kind
    corpus = Corpus.make(recipe, CONTEST, Sources(folder), zoo.examples, zoo.products)
    rows = np.arange(len(zoo.examples))
    outputs = predict(Accelerator(cpu=True), model, corpus.pairs, rows, Budget(4096))
    joined = zoo.examples.merge(zoo.products, on=["locale", "product_id"], how="left")
    joined[list(FIELDS)] = joined[list(FIELDS)].fillna("")
    pairs = [
        (clean(query), clean(join_fields(row)))
        for query, *row in joined[["query", *FIELDS]].itertuples(index=False)
    ]
    return Reference(CONTEST, kind, Sample(zoo.examples, pairs, "rows"), outputs)


def assert_same_in_both(
    reference: Reference, kind: Kind, runner: TorchRunner, folder: Path
) -> None:
    """Compare a folder in transformers and, where it is there, in sentence-transformers with its run."""
    outputs = outputs_of(kind, runner.logits(reference.sample.pairs))
    assert reference.compare("transformers", ".", outputs, SAME).fault == ""
    logits = cross_encoder_logits(folder, reference.sample.pairs)
    if logits is not None:
        assert reference.compare("it", ".", outputs_of(kind, logits), SAME).fault == ""


@pytest.mark.parametrize("family", sorted(CLASSIFIERS.keys() - _DECODERS))
def test_a_family_loads_with_all_weights_and_passes_its_certificate(
    family: str, zoo: Zoo, tmp_path: Path
) -> None:
    kind = KINDS["classes"]
    model = make_model(zoo, family, kind)
    tokenizer = load_tokenizer(zoo.fetched(family))
    write_classifier(tmp_path, model, tokenizer, RECIPE.max_length)
    reference = reference_of(zoo, zoo.fetched(family), model)
    assert reference.values.std(0).max() > 1e-4  # it is a comparison

    # The runner refuses weights that are missing or left over.
    outputs = outputs_of(kind, TorchRunner(tmp_path).logits(reference.sample.pairs))
    form = reference.compare("transformers", ".", outputs, SAME)
    assert form.fault == ""
    assert form.pairs > 10
    assert not (tmp_path / "relevance.safetensors").exists()


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_with_a_new_head_leaves_with_its_adapters_merged(
    family: str, zoo: Zoo, tmp_path: Path
) -> None:
    source, copy, target, one = (tmp_path / name for name in ("source", "copy", "target", "one"))
    make_decoder(AutoModelForCausalLM, family, source, zoo.products)
    fetch(copy, str(source), "test", NEW_HEAD)
    kind = KINDS["classes"]
    recipe = RECIPE.model_copy(update={"lora": Lora(rank=4, alpha=8)})
    model = RelevanceModel.make(recipe, kind, Sources(copy), seed=1).eval()
    model.init_output_bias(torch.full((4,), 1 / 4))  # there is none
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B" in name:  # which is 0 before training
                weight.normal_(std=0.05)
    reference = reference_of(zoo, copy, model, recipe)
    assert reference.values.std(0).max() > 1e-3

    model.merge()
    target.mkdir()
    write_classifier(target, model, load_tokenizer(copy), recipe.max_length)
    runner = TorchRunner(target)
    assert_same_in_both(reference, kind, runner, target)

    # One logit is a sum of what the four read: each weighs as it was told to.
    one.mkdir()
    weight = torch.arange(32) / 32
    write_one_label(one, target, weight, None, "gain", recipe.max_length)
    features = features_of(runner, reference.sample.pairs)
    expected = (features @ weight.double()).numpy()
    found = TorchRunner(one).logits(reference.sample.pairs)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def leaves_the_same(
    zoo: Zoo, copy: Path, target: Path, template: str
) -> tuple[Reference, TorchRunner]:
    """Write a classifier of an encoder's folder, and check that it says the same; return what comp says, and it."""
    kind = KINDS["classes"]
    recipe = RECIPE.model_copy(update={"template": template})
    model = RelevanceModel.make(recipe, kind, Sources(copy), seed=1).eval()
    with torch.no_grad():
        model.output.output.weight.mul_(10)
    reference = reference_of(zoo, copy, model, recipe)
    assert reference.values.std(0).max() > 1e-4

    target.mkdir()
    write_classifier(target, model, load_tokenizer(copy), recipe.max_length, template)
    runner = TorchRunner(target)
    assert_same_in_both(reference, kind, runner, target)
    return reference, runner


@pytest.mark.parametrize(
    "template", ["{query}\n{document}", "Query:{query}\nProduct:{document} Relevant:"]
)
@pytest.mark.parametrize("family", ["qwen3", "bert"])
def test_a_template_leaves_as_what_the_tokenizer_adds(
    family: str, template: str, zoo: Zoo, tmp_path: Path
) -> None:
    source, copy, target = (tmp_path / name for name in ("source", "copy", "target"))
    if family == "bert":
        copy = zoo.fetched(family)
    else:
        make_decoder(AutoModelForCausalLM, family, source, zoo.products)
        fetch(copy, str(source), "test", NEW_HEAD)
    _, runner = leaves_the_same(zoo, copy, target, template)

    # What is read is the template, around texts that are read as they are alone.
    layout = make_layout(load_tokenizer(copy), template, RECIPE.max_length, "", served=True)
    texts = (runner.reader.tokenizer(text, add_special_tokens=False) for text in ("lamp", "oak"))
    query, document = (np.array(text["input_ids"], np.int32) for text in texts)
    expected, _ = layout.join(query, document, RECIPE.max_length)
    assert runner.reader.tokenizer("lamp", "oak")["input_ids"] == expected.tolist()
    assert len(layout.between) > 0


@pytest.mark.parametrize("template", ["", "{query}\n{document}", "{query}\n{document}</s>"])
def test_a_pair_that_ends_in_the_padding_token_is_read_to_its_end(
    template: str, zoo: Zoo, tmp_path: Path
) -> None:
    source, copy, target = (tmp_path / name for name in ("source", "copy", "target"))
    make_decoder(AutoModelForCausalLM, "qwen3", source, zoo.products)
    # As Qwen3-Embedding has it: what ends each text pads, too.
    tokenizer = load_tokenizer(source)
    tokenizer.pad_token = "</s>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>",
        pair="$A $B </s>",
        special_tokens=[("</s>", tokenizer.eos_token_id)],
    )
    tokenizer.save_pretrained(source)
    fetch(copy, str(source), "test", NEW_HEAD)
    reference, runner = leaves_the_same(zoo, copy, target, template)

    # As other programs do it: several pairs of several lengths at a time.
    pairs = [("lamp", "oak"), *reference.sample.pairs[:3]]
    texts = [list(pair) for pair in pairs]
    batch = runner.reader.tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    assert not batch["attention_mask"].all()
    with torch.inference_mode():
        logits = runner.model(**batch).logits.double().numpy()
    np.testing.assert_allclose(logits, runner.logits(pairs), atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "deberta-v2", "modernbert", "mpnet"])
def test_a_family_is_the_same_in_sentence_transformers(
    family: str, zoo: Zoo, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    kind = KINDS["gain"]
    model = make_model(zoo, family, kind)
    write_classifier(tmp_path, model, load_tokenizer(zoo.fetched(family)), RECIPE.max_length)
    reference = reference_of(zoo, zoo.fetched(family), model)

    logits = cross_encoder_logits(tmp_path, reference.sample.pairs)
    assert logits is not None
    assert reference.compare("CrossEncoder", ".", outputs_of(kind, logits), SAME).fault == ""

    # As users call it: one score per pair, by the activation of the folder.
    from sentence_transformers import CrossEncoder

    scores = CrossEncoder(str(tmp_path), device="cpu").predict(reference.sample.pairs[:4])
    np.testing.assert_allclose(scores, reference.values[:4, 0], atol=SAME)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_a_reranker_leaves_with_the_head_that_it_came_with(
    family: str, zoo: Zoo, tmp_path: Path
) -> None:
    source, copy, target = (tmp_path / name for name in ("source", "copy", "target"))
    whole = make_reranker(source, family, zoo.products)
    fetch(copy, str(source), "test", PRETRAINED_HEAD)
    kind = KINDS["gain"]
    recipe = EncoderRecipe(name="x", kind="gain", head=PRETRAINED_HEAD, max_length=48)
    model = RelevanceModel.make(recipe, kind, Sources(copy), seed=1).eval()
    reference = reference_of(zoo, copy, model)

    target.mkdir()
    write_classifier(target, model, load_tokenizer(copy), recipe.max_length)
    runner = TorchRunner(target)
    outputs = outputs_of(kind, runner.logits(reference.sample.pairs))
    assert reference.compare("transformers", ".", outputs, SAME).fault == ""
    # The weights that it was made with, and the model is as it was.
    expected = whole.state_dict()
    assert all(torch.equal(w, expected[name]) for name, w in runner.model.state_dict().items())
    assert reference_of(zoo, copy, model).outputs.equals(reference.outputs)


@pytest.mark.parametrize("family", ["bert", "qwen3"])
def test_adapters_are_merged_into_what_leaves(family: str, zoo: Zoo, tmp_path: Path) -> None:
    source, copy, target = (tmp_path / name for name in ("source", "copy", "target"))
    if family == "bert":
        make_reranker(source, family, zoo.products)
    else:
        auto = AutoModelForSequenceClassification
        make_decoder(auto, family, source, zoo.products, num_labels=1)
    fetch(copy, str(source), "test", PRETRAINED_HEAD)
    recipe = EncoderRecipe(
        name="x", kind="gain", head=PRETRAINED_HEAD, max_length=48, lora={"rank": 4, "alpha": 8}
    )
    model = RelevanceModel.make(recipe, KINDS["gain"], Sources(copy), seed=1).eval()
    before = reference_of(zoo, copy, model, recipe).values
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B" in name:  # which is 0 before training
                weight.normal_(std=0.05)
    reference = reference_of(zoo, copy, model, recipe)
    assert np.abs(reference.values - before).max() > 1e-3

    model.merge()
    target.mkdir()
    write_classifier(target, model, load_tokenizer(copy), recipe.max_length)
    logits = TorchRunner(target).logits(reference.sample.pairs)
    form = reference.compare("transformers", ".", outputs_of(KINDS["gain"], logits), SAME)
    assert form.fault == ""
    assert not list(target.glob("adapter*"))


def test_modernbert_keeps_the_mean_and_others_read_the_first_token(zoo: Zoo) -> None:
    kind = KINDS["gain"]
    assert make_model(zoo, "modernbert", kind, pooling="mean").pooling == "mean"
    assert make_model(zoo, "bert", kind).pooling == "first"
    with pytest.raises(InputError, match="'bert' reads first: leave pooling"):
        make_model(zoo, "bert", kind, pooling="mean")
    with pytest.raises(InputError, match="the family 'xlnet' have no classifier"):
        make_model(zoo, "xlnet", kind)


def test_a_folder_with_a_weight_too_few_is_not_loaded(zoo: Zoo, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make_model(zoo, "bert", KINDS["gain"])
    write_classifier(tmp_path, model, load_tokenizer(zoo.fetched("bert")), 48)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"are not those of its config\.json: classifier\.weight"):
        TorchRunner(tmp_path)


def test_logits_become_outputs_as_in_training(zoo: Zoo) -> None:
    logits = np.array([[0.5, -1.0, 2.0, 0.1]])
    model = make_model(zoo, "bert", KINDS["classes"])
    expected = model.outputs(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(outputs_of(KINDS["classes"], logits), expected, rtol=1e-12)
    np.testing.assert_allclose(outputs_of(KINDS["gain"], logits[:, :1]), 1 / (1 + np.exp(-0.5)))
    # Of two logits, the second is of the label.
    positive = outputs_of(KINDS["substitute"], logits[:, :2])
    np.testing.assert_allclose(positive, [[1 / (1 + np.exp(1.5))]])


def test_weights_are_averaged_one_by_one() -> None:
    models = [{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0])}]
    assert average_weights(models)["a"].tolist() == [(1 + 3) / 2, (2 + 6) / 2]


def test_a_servable_recipe_has_no_features_and_refuses_what_no_server_reads() -> None:
    recipe = EncoderRecipe(name="x", servable=True, features=("brand",), query_context=True)
    assert (recipe.features, recipe.query_context) == ((), False)
    plain = EncoderRecipe(name="x")
    assert "servable" not in plain.result_keys()
    assert recipe.result_keys() == plain.result_keys() | {"servable": True}
    for keys in ({"architecture": "two-tower"}, {"loss": "corn"}, {"pooling": "first+mean"}):
        with pytest.raises(ValueError, match="servable"):
            EncoderRecipe(name="x", servable=True, **keys)
