"""No registered component escapes the laws."""

from tests.contract.registry import TRANSFORMS

from tempovla.transform.pipeline import TRANSFORM_REGISTRY, TransformPipeline


def test_every_registered_transform_is_held_to_the_laws():
    built = [build() for build in TRANSFORMS.values()]
    covered = {type(step) for transform in built for step in getattr(transform, "steps", (transform,))}
    assert set(TRANSFORM_REGISTRY.values()) <= covered
    assert any(isinstance(transform, TransformPipeline) for transform in built)
