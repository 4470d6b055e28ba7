import json

import pytest

from deta.data import Categories


def test_there_are_as_many_categories_as_ids() -> None:
    assert len(Categories(ids=(1, 7, 90), names=("a", "b", "c"))) == 3


def test_state_survives_a_checkpoint_as_plain_data() -> None:
    categories = Categories(ids=(1, 7), names=("a", "b"))
    assert Categories.from_state_dict(json.loads(json.dumps(categories.state_dict()))) == categories


@pytest.mark.parametrize(("ids", "names"), [((), ()), ((1, 2), ("a",)), ((2, 1), ("a", "b")), ((1, 1), ("a", "b"))])
def test_inconsistent_categories_are_refused(ids: tuple[int, ...], names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="categor"):
        Categories(ids=ids, names=names)


def test_equal_lists_are_accepted() -> None:
    Categories(ids=(1,), names=("a",)).require_same(Categories(ids=(1,), names=("a",)), source="val.json")
