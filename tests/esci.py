"""The competition that most tests are about, and the names of its parts."""

from competition.scoring.definition import ESCI, load_contest
from competition.scoring.task import Kind

CONTEST = load_contest(ESCI)
TASKS = CONTEST.tasks
KINDS = CONTEST.kinds
LABELS = CONTEST.labels.names
LOCALES = CONTEST.locale_names
FIELDS = CONTEST.fields
FIELD_ORDERS = CONTEST.field_orders
EXAMPLE_COLUMNS = CONTEST.example_columns
PRODUCT_COLUMNS = CONTEST.product_columns
LABEL_LETTERS = {letter: label for label, letter in CONTEST.labels.letters.items()}
GAINS = {name: dict(zip(LABELS, gain, strict=True)) for name, gain in CONTEST.labels.gains.items()}
ANSWER_KIND: dict[str, Kind] = {name: CONTEST.answer_kind(name) for name in TASKS}

label_codes = CONTEST.labels.codes
gains = CONTEST.labels.gain
