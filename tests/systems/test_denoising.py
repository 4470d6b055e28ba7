"""Denoising queries against the published systems, from the numbers that those have drawn."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.models import ContrastiveDenoisingQueries, DenoisingQueries, LabelEmbedding, LearnedBoxes, Queries
from deta.models.query.groups import attention_mask, join
from deta.ops.random import Draw
from deta.structures import IGNORED, Targets
from tests.golden.scenes import case_targets
from tests.models.tiny import tokens
from tests.systems.draws import recorded_draws

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

SYSTEMS = ("dino", "dn_detr", "dn_deformable_detr")


@pytest.mark.reference("denoise", systems=SYSTEMS)
def test_denoising_queries_equal_the_reference(case: "ReferenceCase") -> None:
    scene = Scene.of(case)
    main, queries = scene.queries()
    assert queries.count == case.outputs["pad_size"]
    is_dino = case.config["system"] == "dino"
    names = ("dn_query_content", "dn_query_box_unsigmoid") if is_dino else ("query_content", "query_box_logit")
    every = join([queries] if is_dino else [queries, main])
    assert every.references is not None
    for found, name in ((every.content, names[0]), (every.references.logit(), names[1])):
        torch.testing.assert_close(found.detach(), case.outputs[name], rtol=1e-4, atol=5e-5)
    mask = attention_mask({"layers": main, "denoise": queries}, {"denoise": scene.group.sees})
    expected = case.outputs["attention_mask" if "attention_mask" in case.outputs else "attn_mask"]
    order = torch.arange(len(expected)).roll(-main.count)  # the references put denoising queries first
    assert mask is not None
    assert torch.equal(mask[order][:, order], expected)


@pytest.mark.reference("denoise", systems=("dn_detr", "dn_deformable_detr"))
def test_queries_answer_for_the_objects_of_the_reference(case: "ReferenceCase") -> None:
    scene = Scene.of(case)
    _, queries = scene.queries()
    assert queries.given is not None
    image, slot = case.outputs["known_image"], case.outputs["known_slot"]
    known = queries.given[image, slot]
    assert torch.equal(scene.targets.labels[image, known], case.outputs["known_labels"])
    torch.testing.assert_close(scene.targets.boxes[image, known], case.outputs["known_boxes"])
    others = queries.given.clone()
    others[image, slot] = IGNORED
    assert (others == IGNORED).all()
    assert queries.exists is not None
    assert torch.equal(queries.exists, queries.given >= 0)


@pytest.mark.reference("denoise", systems=("dino",))
def test_queries_near_an_object_answer_for_it_and_the_others_for_none(case: "ReferenceCase") -> None:
    scene = Scene.of(case)
    _, queries = scene.queries()
    assert queries.given is not None
    assert queries.exists is None
    groups, most = int(case.outputs["num_dn_group"]), scene.targets.most_objects
    near, far = queries.given.view(len(queries.given), groups, 2, most).unbind(2)  # [B, groups, most]
    assert (far == -1).all()
    is_object = scene.targets.is_object[:, None, :most].expand_as(near)
    assert torch.equal(near, torch.where(is_object, torch.arange(most), -1))


@dataclass(frozen=True)
class Scene:
    """A case in our types, with its draws under the names of ours."""

    source: LearnedBoxes
    group: DenoisingQueries
    targets: Targets
    recorded: dict[str, Tensor]

    @classmethod
    def of(cls, case: "ReferenceCase") -> "Scene":
        """With the weights and the noise of the case."""
        config, source, targets = case.config, _source(case), case_targets(case)
        if config["system"] != "dino":
            group = DenoisingQueries(
                source=source,
                groups=config["scalar"],
                label_noise=config["label_noise_scale"],
                box_noise=config["box_noise_scale"],
            )
            return cls(source, group, targets, recorded_draws(case, targets))
        group = ContrastiveDenoisingQueries(
            source=source,
            number=config["dn_number"],
            label_noise=config["dn_label_noise_ratio"] / 2,
            box_noise=config["dn_box_noise_scale"],
            logit_eps=config["inverse_sigmoid_eps"],
        )
        return cls(source, group, targets, recorded_draws(case, targets))

    def queries(self) -> tuple[Queries, Queries]:
        """The main ones, and those of denoising."""
        is_padding = torch.zeros(len(self.targets.boxes), 2, 2, dtype=torch.bool)
        memory = tokens([is_padding], hidden_dim=self.source.hidden_dim)
        main, first = self.source(memory)
        draw = Draw(torch.tensor([0]), recorded=self.recorded)
        with torch.no_grad():
            queries: Queries = self.group(self.source, memory, main, first, self.targets, draw)
        return main, queries


def _source(case: "ReferenceCase") -> LearnedBoxes:
    """The queries that detect, with the weights of the case."""
    state = {name.rpartition(".weight")[0].rpartition(".")[2]: value for name, value in case.state.items()}
    width, rows = case.config["hidden_dim"], state["label_enc"]
    labels = LabelEmbedding(num_classes=len(rows) - 1, hidden_dim=width, has_indicator=rows.shape[1] < width)
    content = {"dn_detr": "label", "dn_deformable_detr": "learned"}.get(case.config["system"], "zeros")
    source = LearnedBoxes(hidden_dim=width, num_queries=case.config["num_queries"], content=content, labels=labels)
    names = {"label_enc": "labels", "refpoint_embed": "boxes", "tgt_embed": "content"}
    source.load_state_dict({f"{names[name]}.weight": state[name] for name in names if name in state}, strict=False)
    return source
