"""The picture of the rooms is that of the code."""

from docs.rooms import PICTURE, draw, imports, rooms


def test_the_picture_is_what_the_code_says() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), "`python docs/rooms.py` draws it again"


def test_a_room_imports_from_earlier_ones_alone() -> None:
    order = rooms()
    assert len(order) == 10
    for place, name in enumerate(order):
        assert set(imports(name)) <= set(order[: place + 1])
