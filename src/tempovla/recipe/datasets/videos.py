"""Datasets of a mixture from which no actions are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tempovla.recipe.datasets.config import MemberConfig

SAGR = "train SA-GR with model.inverse_weight=1, which learns from it"


def check_videos(mixture: Sequence[MemberConfig], model: Any) -> None:
    """Refuse datasets without actions for a policy to which frames alone teach nothing, or without any others.

    Args:
        mixture: the datasets.
        model: the policy's config. One that learns from video says so by a property `learns_from_video`, and by
            `video_remedy` with which settings it would.

    Raises:
        ValueError: naming such a dataset.
    """
    videos = [member for member in mixture if not member.actions]
    if not videos:
        return
    where = f"data.mixture: {videos[0].key} has actions: false"
    if len(videos) == len(mixture):
        raise ValueError(f"{where}, as all datasets have; add one whose actions are learned")
    if not getattr(model, "learns_from_video", False):
        remedy = getattr(model, "video_remedy", SAGR)
        raise ValueError(f"{where}, but frames without actions teach this policy nothing; leave it out, or {remedy}")
