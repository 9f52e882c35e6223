"""Every family of encoders trains, or is refused in a sentence. `make soak` tries each method on each of them."""

import pytest

from tests.zoo import FAMILIES, METHODS, Zoo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo.open(tmp_path_factory.mktemp("zoo"))


@pytest.mark.parametrize(
    ("family", "method"),
    [(family, list(METHODS)[i % len(METHODS)]) for i, family in enumerate(sorted(FAMILIES))],
)
def test_a_family_does_what_is_asked_of_it(family: str, method: str, zoo: Zoo) -> None:
    """One method each, in turn."""
    zoo.check(family, method)
