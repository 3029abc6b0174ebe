"""A policy and its transforms as one module, before it is exported."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.toys import FRONT
from tests.rounding import tolerance
from tests.unit.export.bundles import CASES, IMAGE_SHAPES, tiny_bundle

from tempovla.export.comparison import Reference, largest_differences
from tempovla.export.deployed import DeployedPolicy, Resize, check_bundle
from tempovla.model.vla.vla_model import VLAModel
from tempovla.transform.image import resize_frames

SHAPES = {key: (shape[0], shape[1]) for key, shape in IMAGE_SHAPES.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("noise", ["seed", "numbers"])
def test_it_acts_as_the_policy_behind_its_transforms_does(name, noise):
    if name == "diffusion":
        pytest.importorskip("diffusers")
    bundle = tiny_bundle(name)
    even = dict.fromkeys(SHAPES, (32, 48))  # whole boxes: the very same arithmetic
    deployed = DeployedPolicy(bundle, even, noise).eval()
    reference = Reference(bundle)
    with torch.no_grad():
        differences = largest_differences(reference, deployed, lambda tensors: (deployed(*tensors),))
    assert max(differences.values()) <= tolerance(roundings=100)


def test_its_answer_depends_on_the_seed_and_the_number_of_the_decision():
    bundle = tiny_bundle("flow_matching")
    deployed = DeployedPolicy(bundle, SHAPES).eval()
    *seen, seed, decision = Reference(bundle).observe(deployed, 2, seed=0).tensors
    with torch.no_grad():
        first, again = deployed(*seen, seed, decision), deployed(*seen, seed, decision)
        other, later = deployed(*seen, seed + 1, decision), deployed(*seen, seed, decision + 1)
    assert torch.equal(first, again)
    assert (first - other).abs().amax(dim=(1, 2)).min() > 1e-3
    assert (first - later).abs().amax(dim=(1, 2)).min() > 1e-3


@pytest.mark.parametrize(("shape", "size"), [((24, 32), 16), ((30, 17), 23), ((96, 64), 64)])
def test_resizing_by_matrices_rounds_all_but_ties_as_resizing_does(shape, size):
    frames = torch.randint(0, 256, (4, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    difference = (Resize(shape, size)(frames).int() - resize_frames(frames, size).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def test_a_weight_that_is_missing_is_named():
    bundle = tiny_bundle("mlp")
    del bundle.weights["vlm.queries" if "vlm.queries" in bundle.weights else next(iter(bundle.weights))]
    with pytest.raises(ValueError, match="lacks weight"):
        DeployedPolicy(bundle, {FRONT: (16, 16)})


def test_a_policy_that_remembers_frames_between_its_decisions_is_refused(monkeypatch):
    bundle = tiny_bundle("mlp")
    monkeypatch.setattr(VLAModel, "frame_stride", None, raising=False)
    DeployedPolicy(bundle, SHAPES)
    monkeypatch.setattr(VLAModel, "frame_stride", 4)
    with pytest.raises(ValueError, match="policy 'vla' cannot be exported: it has a memory of its own"):
        DeployedPolicy(bundle, SHAPES)


def test_a_policy_that_drives_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"policy 'driving' cannot be exported yet: .* policies 'sagr', 'smolvla'"):
        check_bundle(replace(tiny_bundle("mlp"), policy="driving"))
