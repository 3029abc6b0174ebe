"""Base of action heads: features in; loss terms in training, a chunk of actions in control."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.timeline import LossTerm
from tempovla.timeline.noise import row_seeds

Generator = torch.Generator | Tensor | None
"""Where noise comes from: seeds (B,) int64 of the rows, a generator to draw such seeds from, or None: torch's own."""

OtherT = TypeVar("OtherT", Tensor, Tensor | None)


class ActionHeadBase(nn.Module):
    """From features to a chunk of normalised actions.

    Your own head defines `loss_terms` and `sample`. All heads use these shapes:

    - features: (B, D), or tokens (B, L, D), with `feature_valid` (B, L) bool, None if all are valid. Heads that attend
      use every token, the others their mean.
    - actions: (B, H, A) normalised; valid: (B, H), or (B, H, A) where dimensions are missing. Values where it is False
      may be anything, even NaN.

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        action_horizon: steps H of a chunk.
    """

    horizon_keyword: ClassVar[str] = "action_horizon"
    """What the constructor calls the steps of a chunk."""

    def __init__(self, input_dim: int, action_dim: int, action_horizon: int) -> None:
        super().__init__()
        sizes = {"input_dim": input_dim, "action_dim": action_dim, self.horizon_keyword: action_horizon}
        check_sizes(type(self).__name__, **sizes)
        self.input_dim = input_dim
        self.action_dim = action_dim
        self.action_horizon = action_horizon

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse keywords that the constructor does not have beside the sizes, and values of another type than its own.

        Raises:
            ValueError: naming the option.
        """
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        sizes = ("input_dim", "action_dim", cls.horizon_keyword)
        named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        choices = [name for name in named if name not in sizes]
        try:
            types = get_type_hints(cls.__init__)
        except NameError:  # a head of one's own may name types that exist for type checkers alone
            types = {}
        for option, value in options.items():
            if option in sizes or not (takes_any or option in choices):
                raise ValueError(f"{cls.__name__} has no option {option!r}{nearest(option, choices)}")
            wanted = [_TYPE_NAMES[kind] for kind in _kinds(types.get(option)) if kind in _TYPE_NAMES]
            if wanted and not any(_is_of(value, kind) for kind in _kinds(types[option])):
                raise ValueError(f"{cls.__name__}: {option}={value!r} is not {' or '.join(wanted)}; correct it")

    @classmethod
    def build(cls, input_dim: int, action_dim: int, action_horizon: int, options: Mapping[str, Any]) -> Self:
        """Return the head with further keywords of its constructor as `options`.

        Raises:
            ValueError: naming the option that the constructor does not have, or that does not fit.
        """
        cls.check_options(options)
        sizes = {"input_dim": input_dim, "action_dim": action_dim, cls.horizon_keyword: action_horizon}
        return cls(**sizes, **options)

    def forward(self, features: Tensor, feature_valid: Tensor | None = None) -> Any:
        """Return the chunk (B, H, A) that `sample` gives, or (B, A) where a chunk is one step."""
        return one_step_or_chunk(self.sample(features, feature_valid=feature_valid))

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """Return the loss terms; at least one term, called `action_loss`."""
        raise NotImplementedError

    def sample(self, features: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None) -> Tensor:
        """Return a chunk of actions (B, H, A) float32 a row, which follows from the row's features and seed alone."""
        raise NotImplementedError

    def sample_padded(
        self, features: Tensor, own: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None
    ) -> Tensor:
        """As `sample`, for bodies that have only the dimensions `own` (B, A); in the others there may be anything.

        Heads whose dimensions see each other show them 0 in those, as `loss_terms` does.
        """
        return self.sample(features, generator, feature_valid=feature_valid)

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """What `sample` draws for rows of these seeds (B,), by name, each (B, ...); here the seeds themselves."""
        return {"seed": seeds}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """Return the chunk (B, H, A) that `sample`, or with `own` `sample_padded`, makes of these `random_numbers`."""
        if own is None:
            return self.sample(features, numbers["seed"], feature_valid=feature_valid)
        return self.sample_padded(features, own, numbers["seed"], feature_valid=feature_valid)

    def pooled(self, features: Tensor, feature_valid: Tensor | None = None) -> Tensor:
        """Return features (B, D): those given, or the mean of the valid tokens (0 where a row has none).

        Raises:
            ValueError: if they are not of this head's size.
        """
        tokens, feature_valid = self.as_tokens(features, feature_valid)
        return mean_token(tokens, feature_valid)

    def as_tokens(self, features: Tensor, feature_valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return features as tokens (B, L, D) with their validity (B, L) or None; features (B, D) are one token.

        Raises:
            ValueError: if they are not of this head's size.
        """
        if features.dim() not in (2, 3) or features.shape[-1] != self.input_dim:
            raise ValueError(
                f"{type(self).__name__}: features {tuple(features.shape)} must be (B, {self.input_dim}) or "
                f"(B, tokens, {self.input_dim}); build the head with their size as input_dim"
            )
        features = in_dtype_of(self, features)
        tokens = features if features.dim() == 3 else features[:, None]
        if feature_valid is not None and feature_valid.shape != tokens.shape[:2]:
            raise ValueError(
                f"{type(self).__name__}: feature_valid {tuple(feature_valid.shape)} must be {tuple(tokens.shape[:2])}, "
                "one for each token"
            )
        return tokens, feature_valid

    def clean_noise(self, noise: Tensor, valid: Tensor) -> Tensor:
        """Noise (B, draws, H, A) with 0 in dimensions that `valid` (B, H, A) says are padding: valid at no step."""
        return noise if valid.dim() == 2 else torch.where(valid.any(dim=1)[:, None, None], noise, 0.0)

    def clean_actions(self, actions: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions (B, H, A) with 0 where invalid, and their validity as (B, H, A).

        Raises:
            ValueError: if either is not of this head's shape.
        """
        return clean_chunk(type(self).__name__, actions, valid, self.action_horizon, self.action_dim)


class DrawingActionHead(ActionHeadBase):
    """A head that draws random numbers. It implements `random_numbers` and `sample_with`, which `sample` combines."""

    def sample(self, features: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None) -> Tensor:
        """Sample as the base does, from numbers that follow from the row's seed."""
        return self.sample_with(features, self._drawn(features, generator), feature_valid=feature_valid)

    def sample_padded(
        self, features: Tensor, own: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None
    ) -> Tensor:
        """Sample as the base does, from numbers that follow from the row's seed."""
        return self.sample_with(features, self._drawn(features, generator), own, feature_valid=feature_valid)

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """Do as the base does."""
        raise NotImplementedError

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """As the base; the dimensions that are not `own` may hold anything, but must not change the others."""
        raise NotImplementedError

    def _drawn(self, features: Tensor, generator: Generator) -> dict[str, Tensor]:
        return self.random_numbers(row_seeds(generator, features.shape[0], features.device))


def clean_chunk(where: str, actions: Tensor, valid: Tensor, horizon: int, action_dim: int) -> tuple[Tensor, Tensor]:
    """Return actions (B, H, A) with 0 where invalid, and their validity (B, H) or (B, H, A) as (B, H, A).

    Raises:
        ValueError: if either has another shape; `where` is for the message.
    """
    if actions.shape[1:] != (horizon, action_dim) or valid.shape not in (actions.shape, actions.shape[:2]):
        raise ValueError(
            f"{where}: actions {tuple(actions.shape)} with valid {tuple(valid.shape)} must be "
            f"(B, {horizon}, {action_dim}) with (B, {horizon}) or (B, {horizon}, {action_dim})"
        )
    full = (valid if valid.dim() == 3 else valid[..., None]).expand(actions.shape)
    return torch.where(full, actions.float(), 0.0), full


def one_step_or_chunk(chunk: Tensor) -> Tensor:
    """Return a chunk (B, H, A) as it is, or as (B, A) where it is one step."""
    return chunk.squeeze(1) if chunk.dim() == 3 and chunk.shape[1] == 1 else chunk


def mean_token(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean (B, D) of the valid ones of tokens (B, L, D); 0 where a row has none."""
    if valid is None:
        return tokens.mean(dim=1)
    total = torch.where(valid[..., None], tokens, 0.0).sum(dim=1)
    return total / valid.sum(dim=1, keepdim=True).clamp(min=1)


def repeat_rows(times: int, tensor: Tensor, other: OtherT) -> tuple[Tensor, OtherT]:
    """Return every row `times` times, one after the other, of a tensor and of another if there is one."""
    return tensor.repeat_interleave(times, dim=0), None if other is None else other.repeat_interleave(times, dim=0)


_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or a type alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; only plain ones are told apart, and a whole number is a number."""
    if kind not in _TYPE_NAMES:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def check_sizes(where: str, **sizes: int) -> None:
    """Raise ValueError for the first size that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{where}: {name}={size} must be at least 1")


def check_positive(where: str, **values: float) -> None:
    """Raise ValueError for the first value that is not a finite number above 0."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{where}: {name}={value} must be greater than 0, and finite")


def check_choice(where: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError if a named choice is not among those that there are."""
    if value not in choices:
        raise ValueError(f"{where}: {name}={value!r} is unknown; choose from {', '.join(choices)}")


def nearest(name: str, choices: list[str]) -> str:
    """Return the end of a message about an unknown name: the nearest one, or all."""
    close = get_close_matches(str(name), choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {choices}"
