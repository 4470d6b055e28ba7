"""The image files that an annotation file names."""

from pathlib import Path

from deta.data.coco import CocoAnnotations
from deta.data.problems import MAX_EXAMPLES


def missing_files(annotations: CocoAnnotations, image_folder: Path) -> list[str]:
    """Names of the images that are not files below ``image_folder``."""
    names = (annotations.file_name(index) for index in range(len(annotations)))
    return [name for name in names if not (image_folder / name).is_file()]


def require_files(annotations: CocoAnnotations, image_folder: Path) -> None:
    """Raise ``FileNotFoundError`` with count and first names unless every image file exists."""
    if not image_folder.is_dir():
        raise FileNotFoundError(f"image folder {image_folder} does not exist; check data.root and the folders below it")
    missing = missing_files(annotations, image_folder)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(annotations)} images do not exist in {image_folder}: "
            f"{', '.join(missing[:MAX_EXAMPLES])}{' ...' if len(missing) > MAX_EXAMPLES else ''}"
        )
