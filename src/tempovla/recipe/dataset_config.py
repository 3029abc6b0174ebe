"""Where demonstrations come from, and what happens to them before any model sees them."""

from __future__ import annotations

from dataclasses import dataclass

from tempovla.transform.normalize import NormalizationMode


@dataclass(frozen=True)
class DataConfig:
    """Where demonstrations come from.

    Attributes:
        data_directory: root of a LeRobot dataset (v2.1 or v3.0), or a folder of LIBERO's HDF5 files.
        demos_per_task: episodes taken of each task, the first ones; None takes all.
        max_len_data: steps taken of each episode, the first ones; None takes all.
        train_split: share of the episodes that is trained on; the others validate.
        preload_bytes: datasets up to this size are held decoded in memory [bytes].
        num_workers: loader processes; 0 reads in the training process.
        validation_batches: batches of one validation.
    """

    data_directory: str = ""
    demos_per_task: int | None = None
    max_len_data: int | None = None
    train_split: float = 0.9
    preload_bytes: int = 2 << 30
    num_workers: int = 0
    validation_batches: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.train_split <= 1:
            raise ValueError(f"data.train_split={self.train_split} must lie in (0, 1]")
        leasts = {"demos_per_task": 1, "max_len_data": 2, "preload_bytes": 0, "num_workers": 0, "validation_batches": 1}
        for name, least in leasts.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"data.{name}={value} must be at least {least}")


@dataclass(frozen=True)
class ObservationConfig:
    """What happens to states, actions and pictures, in every recipe.

    Attributes:
        state_normalization: of the robot's state.
        action_normalization: of the continuous action dimensions; a gripper stays in {-1, +1}.
        shift_px: pictures are shifted at random by up to this many pixels in training; 0 leaves them as they are.
        blind: pictures are blanked, in training and in control: the baseline.
    """

    state_normalization: NormalizationMode = "mean_std"
    action_normalization: NormalizationMode = "mean_std"
    shift_px: int = 0
    blind: bool = False

    @property
    def applied_shift_px(self) -> int:
        """By how many pixels pictures are shifted at random: blank ones are not."""
        return 0 if self.blind else self.shift_px
