import copy
from typing import Any

import numpy as np
import pytest
import torch

from deta.data import EvalSampler, SampleKey, TrainSampler
from deta.data.samplers import ShuffleGroups


def sampler(num_samples: int = 22, batch_size: int = 4, **options: Any) -> TrainSampler:  # noqa: ANN401
    return TrainSampler(num_samples=num_samples, batch_size=batch_size, **{"seed": 0, **options})


def images(keys: TrainSampler | EvalSampler) -> list[int]:
    return [key.image for key in keys]


def test_epoch_visits_images_once_and_drops_the_incomplete_batch() -> None:
    visited = images(sampler(22, 4))
    assert len(visited) == len(set(visited)) == len(sampler(22, 4)) == 20
    assert set(visited) < set(range(22))


def test_orders_of_epochs_and_seeds_differ() -> None:
    orders = set()
    for seed in range(3):
        source = sampler(seed=seed)
        for epoch in range(3):
            source.set_epoch(epoch)
            orders.add(tuple(images(source)))
    assert len(orders) == 9


def test_order_needs_nothing_but_seed_and_epoch() -> None:
    walked, fresh = sampler(), sampler()
    for epoch in range(4):
        walked.set_epoch(epoch)
        order = list(walked)
    fresh.set_epoch(3)
    torch.manual_seed(99)
    assert list(fresh) == order
    assert {key.epoch for key in order} == {3}


def test_global_batches_do_not_depend_on_the_number_of_ranks() -> None:
    alone = images(sampler(22, 4))
    ranks = [images(sampler(22, 2, rank=rank, num_ranks=2)) for rank in range(2)]
    for step in range(5):
        together = [image for rank in ranks for image in rank[2 * step : 2 * step + 2]]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])


@pytest.mark.parametrize("done", range(1, 11))
def test_state_after_each_batch_continues_with_the_next_one(done: int) -> None:
    reference = sampler(22, 4)
    batches = []
    for epoch in range(3):
        reference.set_epoch(epoch)
        keys = list(reference)
        batches += [keys[start : start + 4] for start in range(0, 20, 4)]
    stopped = sampler(22, 4)
    for step in range(done):
        if step % 5 == 0:
            stopped.set_epoch(step // 5)
            iter(stopped)
        stopped.advance()
    resumed = sampler(22, 4)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    resumed.set_epoch(done // 5)
    assert list(resumed)[:4] == batches[done]


def test_state_after_the_last_batch_is_the_start_of_the_next_epoch() -> None:
    source = sampler(22, 4)
    iter(source)
    for _ in range(5):
        source.advance()
    state = source.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)


def test_position_of_another_epoch_is_forgotten() -> None:
    source = sampler()
    source.load_state_dict({**source.state_dict(), "epoch": 1, "position": 8})
    source.set_epoch(2)
    assert len(list(source)) == 20


def test_loaded_position_serves_one_iteration_alone() -> None:
    source = sampler()
    source.load_state_dict({**source.state_dict(), "position": 8})
    source.set_epoch(0)
    assert [len(list(source)), len(list(source))] == [12, 20]


def test_iteration_given_up_half_way_starts_anew() -> None:
    source = sampler()
    iter(source)
    source.advance()
    source.set_epoch(0)
    assert source.state_dict()["position"] == 0
    assert len(list(source)) == 20


def test_resume_inside_an_epoch_works_with_other_ranks_of_the_same_global_batch() -> None:
    state = {**sampler(22, 4).state_dict(), "position": 8}
    rank = sampler(22, 2, rank=1, num_ranks=2)
    rank.load_state_dict(state)
    rank.set_epoch(0)
    assert images(rank) == images(sampler(22, 4))[9::2]


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_samples": 23}, {"batch_size": 2}])
def test_resume_inside_an_epoch_of_another_order_is_refused(change: dict[str, int]) -> None:
    state = sampler(22, 4).state_dict()
    other = sampler(**{"num_samples": 22, "batch_size": 4, **change})
    with pytest.raises(ValueError, match=r"stopped inside epoch 0 .* was \d+, is \d+"):
        other.load_state_dict({**state, "position": 4})
    other.load_state_dict({**state, "epoch": 2})


def test_fewer_images_than_a_step_takes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 8 images \(data.batch_size 4 on 2 ranks\).* the data have 7"):
        sampler(7, 4, num_ranks=2)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_evaluation_sees_every_image_once_over_all_ranks(num_ranks: int) -> None:
    parts = [EvalSampler(num_samples=7, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert sorted(image for part in parts for image in images(part)) == list(range(7))
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]


def test_evaluation_of_fewer_images_than_ranks_leaves_a_rank_idle() -> None:
    assert list(EvalSampler(num_samples=1, rank=1, num_ranks=2)) == []
    assert len(EvalSampler(num_samples=1, rank=1, num_ranks=2)) == 0


def test_evaluation_keys_are_of_epoch_zero() -> None:
    assert next(iter(EvalSampler(num_samples=3, rank=1, num_ranks=2))) == SampleKey(epoch=0, image=1)


GROUP = np.asarray([0, 0, 0, 3, 3, 3, 3, 1, 1, 7, 7, 7])
"""Four groups of three, four, two and three images."""


@pytest.mark.parametrize(("window", "num_windows"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_groups_are_mixed_a_window_at_a_time(window: int, num_windows: int) -> None:
    orders = set()
    for seed in range(20):
        order = images(sampler(12, 1, seed=seed, groups=ShuffleGroups(group=GROUP, window=window)))
        assert sorted(order) == list(range(12))
        seen = [set(run) for run in _runs([int(GROUP[image]) for image in order], window)]
        assert len(seen) == num_windows
        assert sum(len(groups) for groups in seen) == 4
        orders.add(tuple(order))
    assert len(orders) == 20


def _runs(groups: list[int], window: int) -> list[list[int]]:
    """The shortest cut of a sequence into runs of at most ``window`` different groups."""
    runs: list[list[int]] = [[]]
    for group in groups:
        if len({*runs[-1], group}) > window:
            runs.append([])
        runs[-1].append(group)
    return runs


def test_a_window_holds_other_groups_and_orders_every_epoch() -> None:
    source = sampler(12, 1, groups=ShuffleGroups(group=GROUP, window=2))
    firsts = set()
    for epoch in range(30):
        source.set_epoch(epoch)
        firsts.add(frozenset(GROUP[images(source)[:5]].tolist()))
    assert len(firsts) == 6  # every pair of the four groups


def test_an_epoch_in_windows_continues_where_it_stopped() -> None:
    groups = ShuffleGroups(group=GROUP, window=2)
    whole = images(sampler(12, 2, groups=groups))
    stopped, resumed = (sampler(12, 2, groups=groups) for _ in range(2))
    next(iter(stopped))
    stopped.advance()
    resumed.load_state_dict(stopped.state_dict())
    assert images(resumed) == whole[2:]


def test_another_window_or_grouping_is_refused_inside_an_epoch() -> None:
    stopped = sampler(12, 2, groups=ShuffleGroups(group=GROUP, window=2))
    stopped.advance()
    state = stopped.state_dict()
    for groups in (None, ShuffleGroups(group=GROUP, window=3), ShuffleGroups(group=GROUP[::-1], window=2)):
        with pytest.raises(ValueError, match=r"shuffle_groups was \d+, is \d+.*data\.shuffle_window and the shards"):
            sampler(12, 2, groups=groups).load_state_dict(state)


def test_a_state_from_before_there_were_groups_is_one_without() -> None:
    stopped = sampler(12, 2)
    stopped.advance()
    state = {key: value for key, value in stopped.state_dict().items() if key != "shuffle_groups"}
    resumed = sampler(12, 2)
    resumed.load_state_dict(state)
    assert images(resumed) == images(sampler(12, 2))[2:]


def test_groups_of_another_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="groups must have one entry for each of 11 images, got 12"):
        sampler(11, 1, groups=ShuffleGroups(group=GROUP, window=1))


FACTORS = np.array([1.0, 1.25, 2.0, 3.5, 1.0, 1.75, 1.0, 1.0, 1.5, 2.125])
"""Their sum is 16.125."""


def repeating(batch_size: int = 4, **options: Any) -> TrainSampler:  # noqa: ANN401
    return sampler(len(FACTORS), batch_size, repeat_factors=FACTORS, **options)


def test_an_image_comes_as_often_as_its_factor_says() -> None:
    source = repeating(1)
    counts, num_epochs = np.zeros(10), 2000
    for epoch in range(num_epochs):
        source.set_epoch(epoch)
        order = source.order()
        occurrences = np.bincount(order, minlength=10)
        assert (np.abs(occurrences - FACTORS) < 1).all()
        assert len(order) in (16, 17)
        counts += occurrences
    # A count varies by at most 0.5 in an epoch; four standard deviations of the mean.
    np.testing.assert_allclose(counts / num_epochs, FACTORS, atol=4 * 0.5 / num_epochs**0.5)


def test_an_epoch_with_repeats_has_one_length() -> None:
    assert {len(list(repeating())) for _ in range(5)} == {len(repeating())} == {16}


def test_repeats_of_an_image_in_an_epoch_are_numbered() -> None:
    keys = list(repeating(1))
    assert len(set(keys)) == len(keys) == 16
    for position in range(10):
        repeats = [key.repeat for key in keys if key.image == position]
        assert repeats == list(range(len(repeats)))


def test_without_repeats_all_are_the_first() -> None:
    assert {key.repeat for key in sampler()} == {0}


def test_repeats_are_spread_over_the_epoch() -> None:
    gaps = []
    source = repeating(1)
    for epoch in range(200):
        source.set_epoch(epoch)
        places = [k for k, position in enumerate(source.order()) if position == 3]
        gaps += np.diff(places).tolist()
    # Of n places, two drawn at random of four lie (n + 1) / 5 apart.
    assert 3 < np.mean(gaps) < 5


def test_global_batches_with_repeats_do_not_depend_on_the_number_of_ranks() -> None:
    alone = list(repeating())
    ranks = [list(repeating(2, rank=rank, num_ranks=2)) for rank in range(2)]
    assert sorted(alone) == sorted(ranks[0] + ranks[1])
    for step in range(4):
        together = [key for rank in ranks for key in rank[2 * step : 2 * step + 2]]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])


def test_resume_inside_an_epoch_with_repeats_goes_on_with_the_rest() -> None:
    state = {**repeating().state_dict(), "position": 8}
    for options in ({"batch_size": 4}, {"batch_size": 2, "rank": 1, "num_ranks": 2}):
        resumed = repeating(**options)
        resumed.load_state_dict(state)
        resumed.set_epoch(0)
        num_ranks = options.get("num_ranks", 1)
        assert list(resumed) == list(repeating())[8 + options.get("rank", 0) :: num_ranks]


def test_resume_inside_an_epoch_with_other_repeats_is_refused() -> None:
    state = {**repeating().state_dict(), "position": 8}
    other = sampler(10, 4)
    with pytest.raises(ValueError, match="order_size was 16, is 10"):
        other.load_state_dict(state)


def test_factors_of_another_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"repeat_factors must have shape \(9,\), got \(10,\)"):
        TrainSampler(num_samples=9, batch_size=1, seed=0, repeat_factors=FACTORS)


def test_repeats_stay_in_the_window_of_their_image() -> None:
    group = np.arange(10) // 3
    for seed in range(20):
        order = images(repeating(1, seed=seed, groups=ShuffleGroups(group=group, window=2)))
        assert sorted(order) == sorted(images(repeating(1, seed=seed)))
        assert len(_runs([int(group[image]) for image in order], 2)) == 2


def test_resume_inside_an_epoch_with_repeats_in_windows_goes_on_with_the_rest() -> None:
    groups = ShuffleGroups(group=np.arange(10) // 3, window=2)
    whole, resumed = repeating(4, groups=groups), repeating(4, groups=groups)
    resumed.load_state_dict({**whole.state_dict(), "position": 8})
    assert list(resumed) == list(whole)[8:]


def test_a_state_from_before_there_were_repeats_is_one_without() -> None:
    state = {key: value for key, value in sampler(10, 4).state_dict().items() if key != "order_size"}
    resumed = sampler(10, 4)
    resumed.load_state_dict({**state, "position": 4})
    assert list(resumed) == list(sampler(10, 4))[4:]
    with pytest.raises(ValueError, match="order_size was 10, is 16"):
        repeating().load_state_dict({**state, "position": 4})
