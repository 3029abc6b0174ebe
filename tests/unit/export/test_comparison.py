"""Made-up observations are those that the dataset could have, under its own names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.contract.policy_cases import WRIST
from tests.contract.toys import ACTION, FRONT, STATE
from tests.unit.export.bundles import tiny_bundle

from tempovla.control.exported.signature import vector_sizes
from tempovla.export.comparison import Reference
from tempovla.export.deployed import DeployedPolicy
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.timeline import Bundle
from tempovla.timeline.parts import StreamPart
from tempovla.transform.join import Form, JoinStreams
from tempovla.transform.pipeline import TransformPipeline

GRIP = "observation.gripper"
SLICED: Form = (StreamPart(STATE, 6, 1, 3), StreamPart(STATE, 6, 4, 5))
WITH_ANOTHER: Form = (StreamPart(GRIP, 1, 0, 1), StreamPart(STATE, 6, 0, 2))
SHAPES = {FRONT: (21, 27), WRIST: (32, 32)}


def joined(form: Form) -> Bundle:
    """A policy whose state of three dimensions is joined from a dataset's streams."""
    bundle = tiny_bundle("mlp")
    plain = TransformPipeline.of(bundle)
    transform = TransformPipeline([JoinStreams({STATE: (form,)}), *plain.steps])
    return replace(bundle, transform=transform.to_json(), windows=transform.own_windows(bundle.windows))


@pytest.mark.parametrize(("form", "sizes"), [(SLICED, {STATE: 6}), (WITH_ANOTHER, {STATE: 6, GRIP: 1})])
def test_a_policy_whose_state_is_sliced_out_of_the_datasets_is_exported(tmp_path, form, sizes):
    bundle = joined(form)
    assert vector_sizes(bundle) == sizes
    bundle.save(tmp_path / "checkpoint")
    exported = export_checkpoint(tmp_path / "checkpoint", tmp_path / "out", ExportConfig("torchscript"))
    assert list(exported.differences) == [1, 2, 5]
    assert max(exported.differences.values()) <= 1e-4
    assert {spec.name: spec.shape for spec in exported.sidecar.inputs if spec.name in sizes} == {
        name: (size,) for name, size in sizes.items()
    }


def test_each_part_has_the_statistics_of_its_place_in_the_joined_state():
    bundle = joined(WITH_ANOTHER)
    observed = Reference(bundle).observe(DeployedPolicy(bundle, SHAPES), rows=400, seed=0).context.now
    for key, mean, std in ((GRIP, [0.5], [0.1]), (STATE, [-3.0, 100.0, 0.0], [2.0, 5.0, 1.0])):
        value = observed[key].value[:, 0, : len(mean)].numpy()
        np.testing.assert_allclose(value.mean(axis=0), mean, atol=1.0)
        np.testing.assert_allclose(value.std(axis=0), std, rtol=0.2)
    assert ACTION not in observed
