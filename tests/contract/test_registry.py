"""No registered component escapes the laws."""

from collections.abc import Iterable

from tests.contract.registry import MEMORIES, POLICIES, SOURCES, TRANSFORMS, EncoderMemory

from tempovla.data.formats import FORMAT_REGISTRY, OpenOptions
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY
from tempovla.model.vlm.vision_projector import PROJECTOR_REGISTRY
from tempovla.timeline.lazy import loaded
from tempovla.transform.pipeline import TRANSFORM_REGISTRY, TransformPipeline


def own(classes: Iterable[type]) -> set[type]:
    """Those of this package; other tests register some of their own."""
    return {each for each in classes if each.__module__.startswith("tempovla.")}


def test_every_registered_policy_is_held_to_the_laws():
    covered = {type(case.build()) for case in POLICIES.values()}
    assert {policy_class for policy_class, _ in POLICY_REGISTRY.values()} <= covered


def test_every_registered_transform_is_held_to_the_laws():
    built = [build() for build in TRANSFORMS.values()]
    covered = {type(step) for transform in built for step in getattr(transform, "steps", (transform,))}
    assert set(TRANSFORM_REGISTRY.values()) <= covered
    assert any(isinstance(transform, TransformPipeline) for transform in built)


def test_every_temporal_encoder_is_held_to_the_laws():
    built = [case.build() for case in MEMORIES.values()]
    covered = {type(memory.encoder.core) for memory in built if isinstance(memory, EncoderMemory)}
    assert own(TEMPORAL_REGISTRY.values()) == covered


def parts_of(attribute: str) -> set[type]:
    """Classes of one part, named with dots, of all policies under the laws that have it."""
    found = set()
    for case in POLICIES.values():
        part = base_of(case.build())
        for name in attribute.split("."):
            part = getattr(part, name, None)
        found.add(type(part))
    return found


def test_every_action_head_is_held_to_the_laws_in_a_policy():
    assert own(ACTION_HEAD_REGISTRY.values()) <= parts_of("action_head")


def test_every_vision_encoder_and_projector_is_held_to_the_laws_in_a_policy():
    assert own(ENCODER_REGISTRY.values()) <= parts_of("vlm.vision.encoder")
    assert own(PROJECTOR_REGISTRY.values()) <= parts_of("vlm.projector")


def test_every_memory_is_held_to_the_laws():
    covered = {type(case.build()) for case in MEMORIES.values()}
    assert own(loaded(memory) for _, memory in MEMORY_REGISTRY.values()) <= covered


def test_every_format_of_datasets_is_held_to_the_laws(tmp_path):
    opened = {type(case.build(tmp_path / name)) for name, case in SOURCES.items()}
    for name, form in FORMAT_REGISTRY.items():
        case = SOURCES[name.replace("_", "-")]
        case.build(tmp_path / f"of {name}")
        assert form.recognises(tmp_path / f"of {name}")
        assert type(form.open(tmp_path / f"of {name}", OpenOptions())) in opened
