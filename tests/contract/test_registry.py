"""No registered component escapes the laws."""

import pytest
from tests.contract import coverage
from tests.contract.coverage import UNCOVERED, uncovered_formats
from tests.contract.registry import TRANSFORMS

from tempovla.data.formats import LeRobotFormat
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.transform.pipeline import TRANSFORM_REGISTRY, TransformPipeline


@pytest.mark.parametrize("kind", UNCOVERED)
def test_every_registered_component_is_held_to_the_laws(kind):
    assert UNCOVERED[kind]() == []


def test_transforms_are_held_to_the_laws_in_a_pipeline_too():
    assert any(isinstance(build(), TransformPipeline) for build in TRANSFORMS.values())


def test_every_format_of_datasets_is_held_to_the_laws(tmp_path):
    assert uncovered_formats(tmp_path) == []


Forgotten = type("Forgotten", (), {"__module__": "tempovla.somewhere"})


@pytest.mark.parametrize(
    ("kind", "registry", "entry"),
    [
        ("policies", POLICY_REGISTRY, (Forgotten, Forgotten)),
        ("transforms", TRANSFORM_REGISTRY, Forgotten),
        ("temporal cores", TEMPORAL_REGISTRY, Forgotten),
        ("action heads", ACTION_HEAD_REGISTRY, Forgotten),
        ("memories", MEMORY_REGISTRY, (Forgotten, Forgotten)),
    ],
)
def test_a_component_without_a_case_is_named(kind, registry, entry, monkeypatch):
    monkeypatch.setitem(registry, "forgotten", entry)
    assert UNCOVERED[kind]() == ["Forgotten"]


def test_a_format_without_a_case_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "FORMAT_REGISTRY", {"forgotten": LeRobotFormat})
    assert uncovered_formats(tmp_path) == ["forgotten"]
