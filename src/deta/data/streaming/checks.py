"""Looking at all shards of a split before hours of training depend on them."""

from concurrent.futures import ThreadPoolExecutor

from deta.data.coco import CocoAnnotations
from deta.data.decoding import ImageError
from deta.data.images import ImageRules, decode_image
from deta.data.problems import Problems
from deta.data.streaming.layout import ShardError
from deta.data.streaming.split import ShardedSplit


def check_shards(
    split: ShardedSplit,
    annotations: CocoAnnotations,
    *,
    num_workers: int = 1,
    rules: ImageRules | None = None,
) -> list[str]:
    """Compare shards and annotations with their checksums and decode every image.

    Args:
        split: Prepared shards; those of an object store are fetched.
        annotations: Of all images of the split.
        num_workers: Threads that read and decode, from 1.
        rules: Which images are accepted and how they are read; None is the defaults.

    Returns:
        One line for every kind of fault with count and first examples; empty if there is none.
    """
    problems = Problems(str(split.annotation_file.parent))
    images = split.images(annotations)

    def check_image(index: int) -> tuple[str, str] | None:
        try:
            encoded = images.open(index)
            decode_image(encoded.file, name=encoded.name, expected_size=annotations.size(index), rules=rules)
        except ShardError as error:
            return "image that cannot be read", str(error)
        except ImageError as error:
            return "image that cannot be used", str(error)
        return None

    for name in split.damaged():
        problems.add("file that is missing or whose checksum differs", name)
    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        for finding in pool.map(check_image, range(len(annotations))):
            if finding is not None:
                problems.add(*finding)
    return problems.lines()
