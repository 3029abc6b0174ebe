"""Registration of a user's own policy, for training, evaluation and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass, make_dataclass
from functools import partial
from typing import Any

from torch import nn

from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.datasets.streams import Streams, stream_keys
from tempovla.recipe.settings.system import System
from tempovla.recipe.systems.job import imitate
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY
from tempovla.timeline import training_windows
from tempovla.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class ImitationRecipe:
    """The recipe of a run of imitation; `register_policy` adds the field `model`.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of states, actions and pictures.
        training: settings of the training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: ObservationConfig = field(default_factory=ObservationConfig)
    training: TrainConfig = field(default_factory=TrainConfig)


def register_policy(name: str, policy: type[nn.Module], config: type[Any], summary: str) -> type[ImitationRecipe]:
    """Register a policy of your own with `tempovla train NAME`, every evaluation and `tempovla.load`.

    The policy learns by imitation of one dataset. It reads pictures and vectors, and no instruction.

    Args:
        name: its name on the command line and in checkpoints.
        policy: its class, which is built as `policy(config)`.
        config: a frozen dataclass of its options. Its method `streams()` returns a `StreamSpec` by key: what the policy
            reads and imitates.
        summary: its line in `tempovla --help`, in a few words.

    Returns:
        The class of its recipe, with which `tempovla.train` trains it from Python.

    Raises:
        ValueError: if the name is none or belongs to another policy, or the config is no dataclass.
    """
    if not name.isidentifier():
        raise ValueError(f"{policy.__name__}: {name!r} is no name; give letters, digits and underscores")
    if not is_dataclass(config):
        raise ValueError(
            f"{policy.__name__}: {config.__name__} is no dataclass; decorate it with @dataclass(frozen=True)"
        )
    before = POLICY_REGISTRY[name][0] if name in POLICY_REGISTRY else policy
    if (name in SYSTEM_REGISTRY and name not in POLICY_REGISTRY) or before.__qualname__ != policy.__qualname__:
        raise ValueError(f"{policy.__name__}: the name {name!r} is taken already; choose another one")
    model = ("model", config, field(default_factory=config))
    recipe = make_dataclass(
        f"{policy.__name__}Recipe",
        [model],
        bases=(ImitationRecipe,),
        namespace={
            "__doc__": f"All settings of a training of {policy.__name__} is made of.",
            "__module__": policy.__module__,
        },
        frozen=True,
        kw_only=True,
    )
    example = f"tempovla train {name} --dataset outputs/data --out outputs/{name}"
    POLICY_REGISTRY[name] = (policy, config)
    SYSTEM_REGISTRY[name] = (System(recipe, partial(_train, name), f"outputs/{name}", example), summary)
    return recipe


def _train(name: str, recipe: Any, out_dir: Any, **options: Any) -> Any:
    """Build the registered policy from its config, and let it imitate."""
    return imitate(name, recipe, out_dir, lambda: _built(POLICY_REGISTRY[name][0], recipe.model), **options)


def _built(policy: type[nn.Module], config: Any) -> Any:
    """Return the policy, which reads no stream that its config does not name.

    Raises:
        ValueError: naming the stream.
    """
    made = policy(config)
    named = stream_keys(Streams.of(config))
    for window in training_windows(made):  # type: ignore[arg-type]
        if window.key not in named:
            raise ValueError(
                f"{policy.__name__}.windows() reads {window.key!r}, which {type(config).__name__}.streams() does not "
                "name; add its StreamSpec there"
            )
    return made
