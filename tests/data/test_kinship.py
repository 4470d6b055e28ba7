import pytest

from deta.data.kinship import near_name, units_of


@pytest.mark.parametrize(
    "name",
    [
        "a/photo.png",
        "a/PHOTO.JPG",
        "a/photo (2).jpg",
        "a/photo(2).jpg",
        "a/photo copy.jpg",
        "a/photo - Copy (3).jpg",
        "a/photo_copy2.jpg",
        "a/photo~2.jpg",
        "a/photo_aug12.jpg",
        "a/photo_hflip_rot90.jpg",
        "a/photo_jpg.rf.0123456789abcdef0123456789abcdef.jpg",
    ],
)
def test_a_copy_is_near_its_original(name: str) -> None:
    assert near_name(name) == near_name("a/photo.jpg")


@pytest.mark.parametrize(
    "name", ["a/photo_2.jpg", "a/photo2.jpg", "b/photo.jpg", "photo.jpg", "a/photocopy.jpg", "a/(2).jpg"]
)
def test_another_name_is_not_near(name: str) -> None:
    assert near_name(name) != near_name("a/photo.jpg")


def test_a_name_that_is_a_mark_alone_stays() -> None:
    assert near_name("(1).jpg") != near_name("(2).jpg")


def test_images_tied_by_a_third_are_of_one_unit() -> None:
    assert units_of("abcdb", [1, 2, 2, 3, 4]).tolist() == [0, 1, 1, 2, 1]


def test_units_are_numbered_by_their_first_images() -> None:
    assert units_of(["z", "a", "z", "b"]).tolist() == [0, 1, 0, 2]
    assert units_of([]).tolist() == []
