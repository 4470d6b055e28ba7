"""Checks of arguments."""

import pytest

from deta.utils.checks import require_folder_name


@pytest.mark.parametrize("name", ["topk", "nms-0.5", "a.b", "_x", "9"])
def test_names_of_folders_are_taken_as_they_are(name: str) -> None:
    assert require_folder_name("x", name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "../../x", "/x", "a/b", "a\\b", "a\n", ".hidden", "a:b", "ä", "a" * 101, None, 3]
)
def test_names_that_are_paths_or_no_names_are_refused(name: object) -> None:
    with pytest.raises(ValueError, match="x must be the name of a folder"):
        require_folder_name("x", name)
