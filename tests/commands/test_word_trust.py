"""Words on record that do more than deta ships, and by whom they may be used."""

from pathlib import Path

import pytest

from deta.building.word_trust import ALL_WORDS, remember_words, require_trusted
from deta.cli import continue_run
from tests.commands.running import TINY_TRAINING, fail

HARMLESS = [
    *TINY_TRAINING,
    "data=coco",
    "data.root=/data/coco",
    "data.root='/data/my coco'",
    "callbacks=ema",
    "callbacks.resume.every_n_steps=2",
    "~callbacks.instability",
    "assigner@criterion.rules.layers.assigner=iou",
    "+postprocess@evaluations.topk=topk",
    "optimizer.lr_factors={backbone: 0.1}",
    "schedule.make.milestones=[1]",
    "sweep=tau",
    "hydra.mode=RUN",
    "data.val_images=dev",
    "data.root=../net/coco",
    "data.num_workers=32",
    "logger.wandb.mode=offline",
    "logger.wandb.mode=disabled",
    "logger.wandb.project=my-boxes",
    "logger.wandb={project: boxes}",
    "callbacks.best.filename=best",
]
HARMFUL = [
    "+callbacks.x={_target_:os.mkdir,name:MARK}",
    "callbacks.x._target_=os.mkdir",
    "++callbacks.best._target_=os.mkdir",
    "+callbacks.x={a:[{_target_:os.mkdir}]}",
    '+callbacks.x={"_target_":os.mkdir}',
    "model.neck._target_=deta.tracking.environment._git",
    "+model.neck._args_=[MARK]",
    "model.neck._partial_=false",
    "hydra.searchpath=['file:///elsewhere']",
    "hydra.callbacks.cells._target_=os.mkdir",
    "hydra/launcher=submitit_local",
    "experiment@hydra.callbacks=deta_shapes",
    "+hydra.job.env_set={LD_PRELOAD: /evil.so}",
    "--config-dir=/elsewhere",
    "-cd=/elsewhere",
    "--multirun",
    "data.root=${oc.env:SECRET}",
    "data.root='a/${oc.env:SECRET}'",
    "name=${paths.cache}",
    "+x={a:'${oc.create:{_target_:os.mkdir}}'}",
    "model=../../elsewhere/evil",
    "experiment=/elsewhere/evil",
    "experiment=evil",
    "+evil/group=x",
    "callbacks={a: 1}",
    "model=[{a: 1}]",
    "+a._target_.b=c",
    "run_dir=/elsewhere",
    "callbacks.best.dirpath=/elsewhere",
    "callbacks.best={dirpath: /elsewhere}",
    "logger.file.folder=/elsewhere",
    "paths.cache=/elsewhere",
    "paths={runs: /elsewhere}",
    "data.shard_cache=/elsewhere",
    "trainer.default_root_dir=/elsewhere",
    "+logger.more=1",
    "+callbacks.more=1",
    "data.shards=s3://bucket/x",
    "data.shards='simplecache::s3://bucket/x'",
    "weights=https://example.org/x.ckpt",
    "weights='//host/share/x.ckpt'",
    "data={shards: 's3://bucket'}",
    "model.backbone.name='hf-hub:evil/model'",
    "data.root=/",
    "data.root=/dev",
    "data.val_annotations=/dev/zero",
    "data.val_annotations=/proc/self/environ",
    "logger.wandb.entity=evil",
    "+logger.wandb.entity=evil",
    "logger.wandb.project='https://evil'",
    "logger.wandb={entity: evil}",
    "data.root=/data/..",
    "data.root=/data/../dev",
    "data.val_annotations=../../../dev/zero",
    "data.num_workers=1000000",
    "data.pad_to=[1000000,1000000]",
    "logger.wandb.mode=online",
    "logger.wandb.checkpoints=all",
    "callbacks.best._target_.x=y",
    "+callbacks.best._target_.x=y",
    "+trainer.plugins=[x]",
    "trainer.plugins=x",
    "++trainer={plugins: x}",
    "callbacks.best.filename=../../x",
    "callbacks.best={filename: ../../x}",
    "seed=1,2",
    "not an override",
    "",
]


@pytest.mark.parametrize("word", HARMLESS)
def test_values_and_shipped_choices_need_no_trust(word: str, tmp_path: Path) -> None:
    assert require_trusted([word], tmp_path) == [word]


@pytest.mark.parametrize("word", HARMFUL)
def test_a_word_that_reaches_further_is_shown_and_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="you have not given these words of its record yourself") as refusal:
        require_trusted(["seed=1", word], tmp_path)
    shown = [line.strip() for line in str(refusal.value).splitlines()[1:-1]]
    assert len(shown) == 1
    assert shown[0].startswith(f"{word}   (".strip())
    assert require_trusted(["seed=1", word], tmp_path, [ALL_WORDS]) == ["seed=1", word]


def test_trust_in_a_class_covers_words_that_do_nothing_else(tmp_path: Path) -> None:
    word = "+callbacks.x={_target_: mine.Callback, value: 3}"
    assert require_trusted([word], tmp_path, ["mine."]) == [word]
    assert require_trusted([word], tmp_path, ["mine.Callback"]) == [word]
    for other in (["yours."], ["mine.Call"], ["mine.Callback.x"]):
        with pytest.raises(ValueError, match="builds an object"):
            require_trusted([word], tmp_path, other)
    with pytest.raises(ValueError, match="interpolates"):
        require_trusted(["+callbacks.x={_target_: mine.Callback, value: '${oc.env:SECRET}'}"], tmp_path, ["mine."])


def test_words_that_a_user_has_given_himself_are_his_in_that_place_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run, copy = tmp_path / "run", tmp_path / "copy"
    word = "hydra.searchpath=['file:///my/conf']"
    remember_words(run, ["seed=1", word])
    assert require_trusted([word], run) == [word]
    with pytest.raises(ValueError, match="searchpath"):
        require_trusted([word], copy)
    with pytest.raises(ValueError, match="my/other"):
        require_trusted(["hydra.searchpath=['file:///my/other']"], run)


def record_words(run: Path, words: list[str]) -> None:
    """Leave words on record as a run directory of somebody else has them."""
    (run / ".hydra").mkdir(parents=True)
    listed = "".join(f"\n    - {word!r}" for word in words)
    (run / ".hydra" / "hydra.yaml").write_text(
        f"hydra:\n  runtime:\n    config_sources: []\n  overrides:\n    task:{listed}\n"
    )


def test_a_run_directory_from_elsewhere_continues_with_harmless_words_alone(tmp_path: Path) -> None:
    record_words(tmp_path / "good", ["seed=3", "data=coco"])
    continued = continue_run([f"ckpt={tmp_path}/good"])
    assert continued == ["seed=3", "data=coco", f"ckpt={tmp_path}/good", f"hydra.run.dir='{tmp_path}/good'"]
    word = "+callbacks.x={_target_: mine.Callback}"
    record_words(tmp_path / "evil", ["seed=3", word])
    with pytest.raises(ValueError, match="builds an object"):
        continue_run([f"ckpt={tmp_path}/evil"])
    for trusted in ("trusted=[mine.]", "trusted=['mine.Callback']", "trusted=[words]"):
        assert word in continue_run([f"ckpt={tmp_path}/evil", trusted])


def test_commands_refuse_the_words_of_others_before_anything_happens(tmp_path: Path) -> None:
    mark = tmp_path / "MARK"
    record_words(tmp_path / "evil", [f"+callbacks.x={{_target_: os.mkdir, path: {mark}}}"])
    (tmp_path / "evil" / "metrics.jsonl").write_text('{"step": 0}\n')
    for command in (("train", f"ckpt={tmp_path}/evil"), ("runs", "resume", f"folder={tmp_path}/evil")):
        message = fail(*command)
        assert "you have not given these words of its record yourself" in message
        assert "os.mkdir" in message
    assert not mark.exists()


def test_a_sweep_that_lists_a_run_outside_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "cells.json").write_text('{"../elsewhere": ["seed=1"]}')
    message = fail("runs", "resume", f"folder={tmp_path}/sweep")
    assert "elsewhere, which lies outside of it" in message
    assert not (tmp_path / "elsewhere").exists()
