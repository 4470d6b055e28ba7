"""``deta data shard``: pack images and annotations into shards."""

from omegaconf import DictConfig

from deta.building.build import make
from deta.console.terminal import reports_errors
from deta.data.coco import read_coco
from deta.data.datamodule import CocoDataModule
from deta.data.streaming.store import below, open_store
from deta.data.streaming.writer import ShardingReport, ShardWriter
from deta.utils.checks import require_choice, require_int
from deta.utils.wording import counted

_MEBIBYTE = 2**20


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write what is missing below ``out``, verify the rest, and print counts and checksums."""
    require_int("shard_mb", cfg.shard_mb, low=1, high=1000)
    for split in cfg.splits:
        require_choice("splits", split, ("train", "val"))
    datamodule: CocoDataModule = make(cfg.data, source="folder")
    datamodule.prepare_data()
    for split in cfg.splits:
        files = datamodule.folders[split]
        writer = ShardWriter(
            annotations=read_coco(files.annotation_file, layout=datamodule.layout),
            files=files,
            store=open_store(below(cfg.out, split)),
            shard_bytes=cfg.shard_mb * _MEBIBYTE,
            is_shuffled=split == "train",
            max_pixels=datamodule.image_rules.max_pixels,
            on_bad_image=cfg.data.get("on_bad_image", "error"),
            say=print,
        )
        print(_summary(split, writer.write()))
    print(f"Train from them with data.source=shards data.shards={cfg.out}")


def _summary(split: str, report: ShardingReport) -> str:
    manifest = report.manifest
    num_kept = len(manifest.shards) - report.num_written
    return (
        f"{split}: {counted(manifest.num_images, 'image')} and {counted(manifest.num_annotations, 'annotation')} in "
        f"{counted(len(manifest.shards), 'shard')}, {manifest.num_bytes / _MEBIBYTE:.1f} MiB, annotations sha256 "
        f"{manifest.annotations_sha256}; {report.num_written} written, {num_kept} verified and unchanged"
    )
