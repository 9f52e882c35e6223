"""README.md of an exported folder: what the model is, from the run and from what was compared."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from competition import __version__
from competition.core.errors import pluralize
from competition.models.exported.folder import ONE_LABEL
from competition.pipeline.exporting.card_facts import MODEL_ID, UNKNOWN, CardFacts
from competition.pipeline.scorer import has_score

if TYPE_CHECKING:
    from competition.pipeline.exporting.certificate import Form
    from competition.pipeline.exporting.export import Exported


def model_card(facts: CardFacts, exported: Exported) -> str:
    """Return README.md."""
    sections = [
        _front_matter(facts),
        _summary(facts, exported),
        _loading(facts, exported),
        _text_format(facts),
        _training(facts),
        _scores_section(facts),
        _comparison(exported),
        _cost(facts, exported),
        _limits(facts, exported),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _front_matter(facts: CardFacts) -> str:
    """Return what the hub reads."""
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: text-ranking"]
    if facts.licence != UNKNOWN:
        lines.append(f"license: {facts.licence}")
    languages = sorted({each.language for each in facts.contest.locales if each.language})
    if languages:
        lines += ["language:", *(f"- {language}" for language in languages)]
    if MODEL_ID.fullmatch(facts.base):
        lines.append(f"base_model: {facts.base}")
    lines += ["tags:", "- cross-encoder", "- reranker", "- product-search", "---"]
    return "\n".join(lines)


def _summary(facts: CardFacts, exported: Exported) -> str:
    recipe = facts.recipe
    logits = ", ".join(f"`{label}`" for label in facts.labels)
    return f"""
# {recipe.name}: relevance of products to queries

A cross-encoder for the competition `{facts.contest.name}`, trained by `comp` {__version__}. Its logits are of
{logits}. It is {exported.why}.

- **Base model**: {facts.base}
- **Licence**: {_licence_sentence(facts)}
- **Size**: {facts.weights / 1e6:,.1f} million weights, at most {recipe.max_length} tokens per pair"""


def _licence_sentence(facts: CardFacts) -> str:
    if facts.licence == UNKNOWN:
        return "unknown, since the base model's folder does not state one"
    return f"{facts.licence}; the data it learned from may have terms of their own"


def _has(exported: Exported, folder: str) -> bool:
    return any(form.folder == folder for form in exported.forms)


def _loading(facts: CardFacts, exported: Exported) -> str:
    # As Python and JSON both spell them.
    query, document = (json.dumps(text, ensure_ascii=False) for text in facts.example)
    several = len(facts.labels) > 1
    softmax = ", apply_softmax=True" if several else ""
    ranks = has_score(facts.contest, facts.kind)
    has_one_label = _has(exported, ONE_LABEL)
    server = f"FOLDER/{ONE_LABEL}" if has_one_label else "FOLDER"
    head = "FOLDER is the path of this folder"
    if several and not has_one_label:
        head += (
            ". Servers of rerankers take one logit, and there is no form with one here; as a classifier, the folder "
            "can be served."
        )
    else:
        head += f", `{server}` what a server of rerankers is given."
    if has_one_label:
        head += f"""

Servers of rerankers take one logit: `{ONE_LABEL}/` is the same encoder with one, whose sigmoid is near the expected
gain of the classes. It is a linear fit, not the same function; the table below says what its order loses."""
    commands = ["comp serve FOLDER  # one machine, to try it"] if ranks else []
    if has_one_label or not several:
        commands += [f"text-embeddings-router --model-id {server}", f"vllm serve {server}"]
    shell = ("\n\n```sh\n" + "\n".join(commands) + "\n```") if commands else ""
    return f"""
## How to load it

{head}

```python
# comp
import competition

model = competition.load("FOLDER")
model.{"score" if ranks else "classify"}({query}, [{document}])

# sentence-transformers
from sentence_transformers import CrossEncoder

CrossEncoder("FOLDER").predict([({query}, {document})]{softmax})

# transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
classifier = AutoModelForSequenceClassification.from_pretrained("FOLDER")
pair = tokenizer([[{query}, {document}]], truncation=True, return_tensors="pt")
classifier(**pair).logits
```{shell}"""


def _text_format(facts: CardFacts) -> str:
    fields = ", ".join(facts.fields)
    return f"""
## Text

A pair is a query and one text of the product: its fields in the order {fields}, without the empty ones, joined by
blanks. Of both, HTML tags are removed, entities are decoded and blanks are single. What is longer than
{facts.recipe.max_length} tokens is cut, the longer text first. For example:

- query: {_verbatim(facts.example[0])}
- product: {_verbatim(facts.example[1])}

The tokenizer puts the two together, so that the model reads {_verbatim(json.dumps(facts.read, ensure_ascii=False))}."""


def _verbatim(text: str) -> str:
    """Return a text as Markdown shows it as it is, whatever marks it holds."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _training(facts: CardFacts) -> str:
    rows = sum(facts.rows.values())
    locales = ", ".join(
        f"{count:,} {locale or 'without one'}" for locale, count in facts.rows.items()
    )
    recipe = facts.recipe
    return f"""
## Training

{pluralize(rows, "labelled pair")} of {pluralize(facts.queries, "query", "queries")}; by locale: {locales}. The recipe
predicts `{facts.kind.name}`: {pluralize(recipe.epochs, "epoch")}, learning rate {recipe.learning_rate:g}, loss
`{recipe.loss}`, seed {recipe.seed}."""


def _scores_section(facts: CardFacts) -> str:
    folds = len(facts.recipe.folds)
    head = f"## Scores\n\nOf the run's {folds} folds, with 95 % bootstrap intervals over queries. "
    if not facts.scores:
        return head + "The folds were not trained, so there are none."

    lines = ["| task | metric | rows | score | 95 % interval | queries | basis |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {score.task} | {score.metric} | {score.split} | {score.estimate.value:.4f} | "
        f"{score.estimate.interval()} | {score.estimate.queries:,} | {score.basis} |"
        for score in facts.scores
    ]
    protocol = (
        "Out-of-fold scores are of rows that a fold's model never saw, all of a query in one fold; test scores are of "
        "the mean of the folds' outputs, and no label of a test row was trained on."
    )
    if facts.label_paths:
        paths = "; ".join(facts.label_paths)
        protocol += (
            f" The out-of-fold scores are approximate, since labels reached them by {paths}."
        )
    return head + "\n\n" + "\n".join(lines) + f"\n\n{protocol}"


def _comparison(exported: Exported) -> str:
    lines = [
        "| form | folder | rows | largest difference | pairs in another order | paired scores |"
    ]
    lines += ["|---|---|---|---|---|---|", *(_line(form) for form in exported.forms)]
    refused = "".join(f"\n- {name}: {reason}" for name, reason in exported.refused.items())
    left_out = f"\n\nNot among them:\n{refused}" if refused else ""
    return f"""
## Certificate

Each form was compared with the run's own outputs on real rows; `certificate.json` holds the comparison and the digests
of all files, which `competition.load` checks.

{chr(10).join(lines)}{left_out}"""


def _line(form: Form) -> str:
    scores = (
        "; ".join(f"{task} {estimate:+}" for task, estimate in form.scores.items()) or "the same"
    )
    changes = f"{form.order_changes:,} of {form.pairs:,}"
    return f"| {form.name} | `{form.folder}` | {form.rows:,} | {form.max_abs_difference:.1e} | {changes} | {scores} |"


def _cost(facts: CardFacts, exported: Exported) -> str:
    if not exported.latency:
        return ""
    keys = list(exported.latency[0])
    lines = [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"]
    lines += [f"| {' | '.join(_cell(row[key]) for key in keys)} |" for row in exported.latency]
    return f"""
## Cost

Milliseconds for a query with so many candidates of the compared rows, texts to scores, the median of interleaved rounds
in one process on one machine.

{chr(10).join(lines)}"""


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _limits(facts: CardFacts, exported: Exported) -> str:
    locales = ", ".join(locale for locale in facts.rows if locale) or "one market"
    return f"""
## Limits

It learned from the judgments of one competition ({locales}): other shops, languages and kinds of text are not measured.
It sees one product at a time and neither prices, stock nor clicks. Scores of different queries are comparable only as
far as their judgments were. Texts without the fields named above are read, but are not what it was trained on."""
