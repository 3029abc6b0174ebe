"""The recipe of a driving run: data, transforms, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tempovla.data.formats import FORMAT_REGISTRY, format_name
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import Option, System
from tempovla.training.config import TrainConfig


@dataclass(frozen=True)
class DrivingDataConfig(DataConfig):
    """The drives.

    Attributes:
        data_root: folder of the dataset, where `data_directory` names its format, such as nuscenes.
    """

    data_root: str = ""

    def resolved(self) -> Self:
        """Return the config with the folder of the dataset in `data_directory`.

        Raises:
            ValueError: if a format is named without a folder, or the folder is of another one.
        """
        named = self.data_directory
        if not self.data_root:
            if named in FORMAT_REGISTRY and not Path(named).exists():
                raise ValueError(
                    f"data.data_directory={named} names a format; give the folder of the dataset with --data-root"
                )
            return self
        if named and named not in FORMAT_REGISTRY:
            raise ValueError(
                f"data.data_directory={named} and data.data_root={self.data_root} are two places of a dataset; leave "
                f"out one of them, or name a format in data.data_directory: {', '.join(sorted(FORMAT_REGISTRY))}"
            )
        root = Path(self.data_root)
        found = format_name(root) if named and root.exists() else named
        if found != named:
            raise ValueError(
                f"data.data_root={self.data_root} is of the format {found or 'of no dataset'}, not {named}; give the "
                "folder of such a dataset, or leave the format out"
            )
        return replace(self, data_directory=self.data_root, data_root="")


@dataclass(frozen=True)
class DrivingTransformConfig(ObservationConfig):
    """Preprocessing of observations.

    Ego status, poses and actions keep their units: the model has constants to scale them, so that nothing is fitted to
    the speed limits of one town.

    Attributes:
        tokenizer: name or folder of a transformers tokenizer, or `words` for hashed words. None takes the tokenizer of
            a pretrained language model, and hashed words where there is none.
    """

    tokenizer: str | None = None

    def __post_init__(self) -> None:
        for name in ("state_normalization", "action_normalization"):
            if getattr(self, name) != "mean_std":
                raise ValueError(
                    f"transform.{name}={getattr(self, name)} has no effect on driving, which normalises by constants; "
                    "leave it out"
                )
        if self.blind:
            raise ValueError("transform.blind=true: for a blind driving policy set model.sensors=[]")


@dataclass(frozen=True)
class DrivingRecipe:
    """All settings of a driving run.

    Attributes:
        data: the drives.
        transform: preprocessing of the drives.
        model: parts and sizes of the model.
        training: settings of the training.
    """

    data: DrivingDataConfig = field(default_factory=DrivingDataConfig)
    transform: DrivingTransformConfig = field(default_factory=DrivingTransformConfig)
    model: MultiSensorVLAConfig = field(default_factory=MultiSensorVLAConfig)
    training: TrainConfig = field(default_factory=TrainConfig)

    @property
    def resolved(self) -> DrivingRecipe:
        """The recipe with the folder of the dataset; see `DrivingDataConfig.resolved`."""
        return replace(self, data=self.data.resolved())


SYSTEM = System(
    recipe=DrivingRecipe,
    train="tempovla.recipe.systems.driving:train_driving",
    out="checkpoints/driving",
    options=(
        Option(
            "base_checkpoint",
            "trained driving policy with the same sensors from which the run starts, such as one without the past",
            metavar="CKPT",
        ),
    ),
    parser="tempovla.recipe.systems.driving_flags:DrivingParser",
    examples="""
tempovla train driving --config configs/driving_city.yaml --dataset outputs/city --out outputs/driving
tempovla train driving --config configs/driving_city.yaml --dataset nuscenes --data-root outputs/city \\
    --out outputs/driving
tempovla train driving --config configs/driving_city.yaml --dataset outputs/city --out outputs/cameras \\
    --model.sensors '[cameras]'
tempovla train driving --config configs/driving_city.yaml --dataset outputs/city --out outputs/blind \\
    --model.sensors '[]'
tempovla train driving --config configs/driving_city_tokens.yaml --dataset outputs/city --out outputs/cross_modal
tempovla train driving --config configs/driving_city.yaml --dataset outputs/city --out outputs/driving_lstm \\
    --use-temporal-encoder --temporal-encoder-type lstm --sequence-length 8 --training.batch_size 2 \\
    --base-checkpoint outputs/driving/checkpoint_latest
tempovla train driving --config configs/driving_city.yaml --dataset outputs/city --out outputs/driving \\
    --checkpoint outputs/driving/checkpoint_latest
""",
)
