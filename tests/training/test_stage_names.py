"""Names of stages and assignments in logs."""

from deta.structures import StageKey
from deta.training.stage_names import assignment_names, stage_name, term_name


def layers(count: int, role: str = "layers") -> list[StageKey]:
    return [StageKey(role, layer) for layer in range(count)]


def test_layers_that_share_an_assignment_are_reported_once() -> None:
    shared = StageKey("layers")
    assert assignment_names([StageKey("first"), shared]) == {"proposals": (StageKey("first"),), "layers": (shared,)}


def test_layers_that_are_assigned_anew_are_reported_each_and_the_last_as_layers() -> None:
    first, second, last = layers(3)
    assert assignment_names(layers(3)) == {"layer0": (first,), "layer1": (second,), "layers": (last,)}


def test_further_query_groups_carry_their_name() -> None:
    found = assignment_names([*layers(2), StageKey("copy"), *layers(2, "denoise"), StageKey("copies", None, 3)])
    assert list(found) == ["layer0", "layers", "copy/layers", "denoise/layer0", "denoise/layers", "copies/layers"]


def test_copies_are_reported_together_by_layer() -> None:
    keys = [StageKey("copies", layer, copy) for copy in range(3) for layer in range(2)]
    assert assignment_names(keys) == {"copies/layer0": tuple(keys[::2]), "copies/layers": tuple(keys[1::2])}


def test_terms_are_named_by_stage_and_kind() -> None:
    assert term_name(StageKey("layers", 3), "giou") == "layer3/giou"
    assert term_name(StageKey("first"), "class") == "proposals/class"
    assert stage_name(StageKey("copies", 2, 1)) == "copies1/layer2"
