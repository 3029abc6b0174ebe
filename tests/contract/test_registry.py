"""No registered component escapes the laws."""

from tests.contract.registry import MEMORIES, POLICIES, TRANSFORMS, EncoderMemory

from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.transform.pipeline import TRANSFORM_REGISTRY, TransformPipeline


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
    own = {core for core in TEMPORAL_REGISTRY.values() if core.__module__.startswith("tempovla.")}
    assert own == covered


def test_every_memory_is_held_to_the_laws():
    covered = {type(case.build()) for case in MEMORIES.values()}
    own = {memory for _, memory in MEMORY_REGISTRY.values() if memory.__module__.startswith("tempovla.")}
    assert own <= covered
