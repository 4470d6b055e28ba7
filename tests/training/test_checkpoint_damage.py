"""Checkpoints that are damaged or hold something else: never read as if they were whole, always named."""

import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deta.training.checkpoint import AtomicCheckpointIO, find_resumable, load_weights, read_checkpoint, read_training
from tests.models.tiny import tiny_detector

CONFIG = {"model": {"_target_": "deta.models.Detector", "num_classes": 32}, "data": {"sizes": [1, 2.5, None, True]}}
TRAINING = {
    "epoch": 1,
    "global_step": 7,
    "pytorch-lightning_version": "2.6.0",
    "loops": {"fit_loop": {}},
    "callbacks": {},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"params": [0]}]}],
    "lr_schedulers": [],
}


def content(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    """A small checkpoint of a training; ``changes`` to its metadata."""
    metadata = {"config": CONFIG, "category_ids": [1, None], "category_names": ["cat", "unused"], **changes}
    generator = torch.Generator().manual_seed(0)
    weights = {f"detector.{name}": torch.randn(4, 4, generator=generator) for name in ("first", "second")}
    return {**TRAINING, "deta": metadata, "state_dict": weights}


def save(path: Path, what: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(what, path)  # without a digest, as a stranger or an earlier version
    return path


def flipped(whole: bytes, choose: random.Random) -> bytes:
    damaged = bytearray(whole)
    for _ in range(choose.choice((1, 1, 1, 2, 8))):
        position = choose.randrange(len(damaged) * 8)
        damaged[position // 8] ^= 1 << position % 8
    return bytes(damaged)


def overwritten(whole: bytes, choose: random.Random) -> bytes:
    start, length = choose.randrange(len(whole)), choose.choice((1, 4, 64, 512))
    return whole[:start] + choose.randbytes(length) + whole[start + length :]


def moved(whole: bytes, choose: random.Random) -> bytes:
    start, end, to = sorted(choose.randrange(len(whole)) for _ in range(3))
    return whole[:start] + whole[end:to] + whole[start:end] + whole[to:]


def doubled(whole: bytes, choose: random.Random) -> bytes:
    start, length = choose.randrange(len(whole)), choose.choice((1, 30, 300))
    return whole[: start + length] + whole[start : start + length] + whole[start + length :]


def cut(whole: bytes, choose: random.Random) -> bytes:
    start, length = choose.randrange(len(whole)), choose.choice((1, 30, 300, len(whole)))
    return whole[:start] + whole[start + length :]


def swapped(whole: bytes, choose: random.Random) -> bytes:
    """Two stretches of the numbers have changed places."""
    damaged, (first, second) = bytearray(whole), choose.sample(range(0, len(whole) - 64, 64), 2)
    damaged[first : first + 64], damaged[second : second + 64] = whole[second : second + 64], whole[first : first + 64]
    return bytes(damaged)


@pytest.mark.parametrize("mutate", [flipped, overwritten, moved, doubled, cut, swapped])
def test_no_mutation_is_read_as_something_else_than_was_saved(
    tmp_path: Path, mutate: Callable[[bytes, random.Random], bytes]
) -> None:
    path = save(tmp_path / "a.ckpt", content())
    whole, saved, trained = path.read_bytes(), read_checkpoint(path), str(read_training(path))
    num_refused = 0
    for seed in range(60):
        path.write_bytes(mutate(whole, random.Random(seed)))
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            num_refused += 1
            assert str(path) in str(error)  # noqa: PT017 - not every mutation changes what is read
            with pytest.raises(ValueError, match=r"a.ckpt"):
                read_training(path)
            continue
        assert (found.config, found.category_ids, found.category_names) == (CONFIG, (1, None), ("cat", "unused"))
        assert all(torch.equal(found.weights[name], value) for name, value in saved.weights.items())
        assert str(read_training(path)) == trained
    assert num_refused > 15


def adam(first: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A state of AdamW for the two weights of ``content``, with changes to what it remembers of the first."""
    states: dict[int, dict[str, object]] = {
        index: {"step": torch.tensor(7.0), "exp_avg": torch.ones(4, 4), "exp_avg_sq": torch.ones(4, 4)}
        for index in range(2)
    }
    states[0].update(first or {})
    return {"state": states, "param_groups": [{"lr": 0.1, "params": [0, 1], "parameter_names": ["first", "second"]}]}


def spoilt(**changes: object) -> dict[str, Any]:
    """``content`` of AdamW with changes to the weight ``first``, under ``weight``, or to what is remembered of it."""
    whole = content()
    whole["state_dict"]["detector.first"] = changes.pop("weight", whole["state_dict"]["detector.first"])
    return {**whole, "optimizer_states": [adam(changes)]}


SPOILT = {
    "whole numbers": (spoilt(weight=torch.ones(4, 4, dtype=torch.int64)), r"numbers of torch.int64"),
    "complex numbers": (spoilt(weight=torch.ones(4, 4, dtype=torch.complex64)), r"numbers of torch.complex64"),
    "small floats": (spoilt(weight=torch.ones(4, 4).to(torch.float8_e4m3fn)), r"numbers of torch.float8_e4m3fn"),
    "a NaN": (spoilt(weight=torch.ones(4, 4).index_fill(0, torch.tensor(3), torch.nan)), "NaN or infinite"),
    "infinite": (spoilt(weight=torch.full((4, 4), -torch.inf)), "NaN or infinite"),
    "another shape": (spoilt(weight=torch.ones(4, 3)), r"(4, 3), but exp_avg of the optimizer is (4, 4)"),
    "another shape remembered": (spoilt(exp_avg_sq=torch.ones(16)), "exp_avg_sq of the optimizer is (16,)"),
    "NaN remembered": (spoilt(exp_avg=torch.full((4, 4), torch.nan)), "exp_avg of the optimizer is NaN"),
    "text remembered": (spoilt(exp_avg="none"), "exp_avg of the optimizer is a str"),
    "negative squares": (spoilt(exp_avg_sq=-torch.ones(4, 4)), "exp_avg_sq of the optimizer is negative"),
    "a step of NaN": (spoilt(step=torch.tensor(torch.nan)), "step of the optimizer is no number of steps"),
    "steps of every number": (spoilt(step=torch.ones(4, 4)), "step of the optimizer is no number of steps"),
    "flags remembered": (spoilt(exp_avg=torch.ones(4, 4).bool()), "exp_avg of the optimizer has numbers of torch.bool"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_run_goes_on_from_the_checkpoint_before_where_the_numbers_of_the_last_one_are_spoilt(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    what, reason = SPOILT[name]
    previous, last = save(folder / "previous.ckpt", spoilt()), save(folder / "last.ckpt", what)
    with caplog.at_level(logging.WARNING):
        assert find_resumable(tmp_path) == previous
    assert f"{last}: no training goes on from its numbers: detector.first (" in caplog.text
    assert reason in caplog.text
    assert f"continuing from {previous}: the one after it is missing or damaged" in caplog.text
    with pytest.raises(ValueError, match=r"last.ckpt: no training goes on from its numbers"):
        AtomicCheckpointIO().load_checkpoint(last)


def test_spoilt_weights_beside_their_averages_are_found(tmp_path: Path) -> None:
    trained = {**content()["state_dict"], "detector.second": torch.full((4, 4), torch.nan)}
    averaged = {**spoilt(), "current_model_state": trained}
    with pytest.raises(ValueError, match=r"a.ckpt: .*: detector.second \(NaN or infinite\)"):
        read_training(save(tmp_path / "a.ckpt", averaged))


def remembering(index: int, state: Mapping[str, object]) -> dict[str, Any]:
    """``spoilt`` of no change but to all that is remembered at one index."""
    optimizer = adam()
    return {**spoilt(), "optimizer_states": [{**optimizer, "state": {**optimizer["state"], index: state}}]}


@pytest.mark.parametrize("state", [{}, {"momentum_buffer": torch.ones(4, 4)}])
def test_a_weight_that_made_no_step_yet_or_learns_otherwise_is_not_spoilt(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    """As one that no batch has used, and as matrices and vectors of Muon."""
    assert read_training(save(tmp_path / "a.ckpt", remembering(0, state)))["global_step"] == 7


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loops", {}),
        ("optimizer_states", []),
        ("optimizer_states", [{"param_groups": [{"params": [0]}]}]),
        ("optimizer_states", [{"state": {}, "param_groups": []}]),
        ("optimizer_states", [{"state": {0: None}, "param_groups": [{"params": [0]}]}]),
        ("global_step", -5),
        ("epoch", -1),
    ],
)
def test_a_state_without_content_is_none_to_go_on_from(tmp_path: Path, key: str, value: object) -> None:
    folder = tmp_path / "checkpoints"
    previous = save(folder / "previous.ckpt", spoilt())
    last = save(folder / "last.ckpt", {**spoilt(), key: value})
    assert find_resumable(tmp_path) == previous
    with pytest.raises(ValueError, match=rf"last.ckpt holds weights, but no training goes on from it \({key}\)"):
        read_training(last)


def test_a_square_of_a_weight_as_a_whole_is_not_spoilt(tmp_path: Path) -> None:
    """As NovoGrad has it."""
    whole = spoilt(exp_avg_sq=torch.tensor(3.0))
    assert read_training(save(tmp_path / "a.ckpt", whole))["global_step"] == 7


def test_whole_numbers_that_are_counted_and_squares_that_overflowed_are_not_spoilt(tmp_path: Path) -> None:
    whole = spoilt(exp_avg_sq=torch.full((4, 4), torch.inf))
    whole["state_dict"]["detector.norm.num_batches_tracked"] = torch.tensor(3)
    assert read_training(save(tmp_path / "a.ckpt", whole))["global_step"] == 7


@pytest.mark.parametrize("damage", ["flipped bit", "text", "dict", "list", "folder", "half", "empty", "other program"])
def test_a_run_goes_on_from_the_checkpoint_before_whatever_the_last_one_is(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    previous, last = save(folder / "previous.ckpt", content()), folder / "last.ckpt"
    whole = previous.read_bytes()
    position = whole.index(content()["state_dict"]["detector.first"].numpy().tobytes())
    contents: Mapping[str, bytes] = {
        "flipped bit": whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :],
        "text": b"epoch: 3\n" * 100,
        "half": whole[: len(whole) // 2],
        "empty": b"",
    }
    objects: Mapping[str, object] = {"dict": {}, "list": [1, 2], "other program": {"model": {"a": torch.ones(1)}}}
    if damage == "folder":
        last.mkdir()
    elif damage in objects:
        save(last, objects[damage])
    else:
        last.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert find_resumable(tmp_path) == previous
    assert str(last) in caplog.text
    assert f"continuing from {previous}: the one after it is missing or damaged" in caplog.text


def test_a_flipped_bit_is_noticed_by_what_training_goes_on_from(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", content())
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 7
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(torch.tensor(7.0).numpy().tobytes())] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a.ckpt .*is not what was written: its checksum differs"):
        AtomicCheckpointIO().load_checkpoint(path)


WRONG = {
    "no metadata": {**content(), "deta": None},
    "metadata of another kind": {**content(), "deta": [1]},
    "no configuration": content(config=None),
    "configuration that is a list": content(config=[1]),
    "configuration with a tensor": content(config={"model": torch.ones(1)}),
    "configuration with bytes": content(config={"model": b"x"}),
    "configuration with strange keys": content(config={(1, 2): "x"}),
    "no ids": content(category_ids=None),
    "ids that are text": content(category_ids=["1", "2"]),
    "ids that are flags": content(category_ids=[True, False]),
    "ids that are a tensor": content(category_ids=torch.ones(2)),
    "too few names": content(category_names=["cat"]),
    "names that are numbers": content(category_names=[1, 2]),
    "names that cannot be written": content(category_names=["cat", "\ud800"]),
    "weights that are a list": {**content(), "state_dict": [torch.ones(1)]},
    "weights that are text": {**content(), "state_dict": {"detector.a": "x"}},
    "weights without names": {**content(), "state_dict": {3: torch.ones(1)}},
}


@pytest.mark.parametrize("name", WRONG)
def test_whole_files_with_other_content_are_named(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.ckpt", WRONG[name])
    with pytest.raises(ValueError, match=r"a.ckpt"):
        read_checkpoint(path)


def test_a_configuration_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    wide: list[Any] = ["x"]
    deep: list[Any] = []
    for _ in range(40):
        wide = [wide, wide]
    for _ in range(400):
        deep = [deep]
    for config in ({"a": wide}, {"a": deep}):
        with pytest.raises(ValueError, match=r"a.ckpt: its configuration has more than"):
            read_checkpoint(save(tmp_path / "a.ckpt", content(config=config)))


@pytest.mark.parametrize("part", TRAINING)
def test_weights_alone_are_told_from_what_training_goes_on_from(tmp_path: Path, part: str) -> None:
    path = save(tmp_path / "a.ckpt", {name: value for name, value in content().items() if name != part})
    assert read_checkpoint(path).category_names == ("cat", "unused")
    with pytest.raises(ValueError, match=rf"a.ckpt holds weights, but no training goes on from it \({part}\)"):
        read_training(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weight: weight.long(), r"numbers of torch\.int64 instead of torch\.float32"),
        (lambda weight: weight.bool(), r"numbers of torch\.bool instead of torch\.float32"),
        (lambda weight: weight.to(torch.complex64), r"numbers of torch\.complex64 instead of torch\.float32"),
        (lambda weight: weight.to(torch.float8_e4m3fn), r"numbers of torch\.float8_e4m3fn instead"),
        (lambda weight: weight * torch.nan, "NaN or infinite"),
        (lambda weight: weight / 0, "NaN or infinite"),
    ],
)
def test_weights_whose_numbers_do_not_fit_are_refused_by_name(
    tmp_path: Path, change: Callable[[Tensor], Tensor], reason: str
) -> None:
    detector = tiny_detector(num_classes=2)
    state = {f"detector.{name}": value for name, value in detector.state_dict().items()}
    name = "detector.body.encoder.level_embed"
    changed = {**content(), "state_dict": {**state, name: change(state[name] + 1)}}
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", changed))
    before = detector.get_parameter("body.encoder.level_embed").clone()
    with pytest.raises(ValueError, match=rf"a.ckpt does not fit .*encoder\.level_embed \({reason}"):
        load_weights(detector, checkpoint)
    assert torch.equal(detector.get_parameter("body.encoder.level_embed"), before)


def test_halved_weights_are_cast_to_those_of_the_model(tmp_path: Path) -> None:
    detector, source = tiny_detector(num_classes=2, seed=0), tiny_detector(num_classes=2, seed=1)
    state = {f"detector.{name}": value.bfloat16() for name, value in source.state_dict().items()}
    load_weights(detector, read_checkpoint(save(tmp_path / "a.ckpt", {**content(), "state_dict": state})))
    found, expected = (each.get_parameter("body.encoder.level_embed") for each in (detector, source))
    assert torch.equal(found, expected.bfloat16().float())
