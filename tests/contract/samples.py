"""Random samples and successive contexts, as wide as a policy's windows ask."""

from tempovla.timeline.laws.samples import EMBODIMENT, VOCABULARY, Shapes, random_contexts, random_sample, random_track

__all__ = ["EMBODIMENT", "VOCABULARY", "Shapes", "random_contexts", "random_sample", "random_track"]
