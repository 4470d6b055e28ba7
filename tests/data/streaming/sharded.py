"""Folders of a few images and the shards made of them."""

import json
import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

from deta.data import read_coco
from deta.data.sources import FolderSplit
from deta.data.streaming.store import Store, below, open_store
from deta.data.streaming.writer import ShardingReport, ShardWriter
from tests.data.folders import write_dataset

SHARD_BYTES = 6_500
"""About three of the images of ``write_dataset``."""
NUM_TRAIN = 13
NUM_VAL = 7


def write_folder(root: Path) -> Path:
    """13 training and 7 validation images."""
    write_dataset(root, num_images=NUM_TRAIN)
    write_dataset(root, num_images=NUM_VAL, split="val")
    return root


def writer(root: Path, store: Store, split: str = "train", **options: object) -> ShardWriter:
    """A writer of one split of ``write_folder``, silent."""
    defaults: dict[str, object] = {"shard_bytes": SHARD_BYTES, "is_shuffled": split == "train", "say": _be_silent}
    path = root / "annotations" / f"{split}.json"
    return ShardWriter(
        annotations=read_coco(path),
        files=FolderSplit(path, root / split),
        store=store,
        **{**defaults, **options},  # type: ignore[arg-type]
    )


def write_both(root: Path, address: str | Path) -> list[ShardingReport]:
    """Shards of both splits below an address."""
    return [writer(root, open_store(below(address, split)), split).write() for split in ("train", "val")]


def rename_shard(manifest: Path, name: str) -> None:
    """Let a manifest call its second shard by another name."""
    content = json.loads(manifest.read_text())
    content["shards"][1]["name"] = name
    manifest.write_text(json.dumps(content))


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let this process write no larger files, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


@contextmanager
def object_store() -> Iterator[str]:
    """An S3 server on the loopback interface with an empty bucket, whose address this gives."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        with mock.patch.dict("os.environ", variables):
            boto3.session.Session().client("s3").create_bucket(Bucket="images")
            yield "s3://images/some/prefix"
    finally:
        server.stop()


def put_object(address: str, content: bytes) -> None:
    """Replace an object of the store."""
    import boto3

    parts = urlsplit(address)
    client = boto3.session.Session().client("s3")
    client.put_object(Bucket=parts.netloc, Key=parts.path.strip("/"), Body=content)


def _be_silent(_: str) -> None:
    pass
