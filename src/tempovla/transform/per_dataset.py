"""A bundle that learned from several datasets, as one for the body of one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tempovla.timeline import Bundle
from tempovla.transform.pipeline import PerDataset, TransformPipeline


def bundle_for_dataset(bundle: Bundle, name: str) -> Bundle:
    """Return the bundle with windows, transforms, embodiment and provenance of one dataset: what acts for its body.

    It takes that body's observations as they are, and its actions have that body's dimensions and units.

    Raises:
        ValueError: if its transforms are damaged, or have none of that dataset.
    """
    pipeline = TransformPipeline.of(bundle)
    views = {name: view for step in pipeline.steps if isinstance(step, PerDataset) for name, view in step.views.items()}
    if name not in views:
        raise ValueError(
            f"{bundle.origin or 'bundle'}: its transforms are of datasets {sorted(map(str, views))}, none is {name!r}; "
            "copy the bundle again"
        )
    view = views[name]
    steps: list[Any] = []
    for step in pipeline.steps:
        steps += view.all_steps if isinstance(step, PerDataset) else [step]
    provenance = {key: value for key, value in bundle.provenance.items() if key != "datasets"}
    return replace(
        bundle,
        windows=view.raw_windows(bundle.windows),
        embodiment=view.embodiment,
        transform=TransformPipeline(steps).to_json(),
        provenance=provenance | bundle.provenance["datasets"][name] | {"dataset_name": name},
    )
