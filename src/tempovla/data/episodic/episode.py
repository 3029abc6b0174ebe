"""One episode in arrays, while it is recorded and when it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tempovla.data.episodic.step_bounds import StepBounds

Array = NDArray[np.float32]
Part = dict[str, NDArray]
"""`obs` (T, obs_dim), `action` (T, action_dim), `reward` (T,), `done` (T,), in this order."""


@dataclass(frozen=True)
class OpenEpisode:
    """An episode that is being recorded: arrays with room for all of its steps, of which the first ones are filled.

    Attributes:
        obs: (L, obs_dim) float32.
        action: (L, action_dim) float32.
        reward: (L,) float32.
        done: (L,) bool.
    """

    obs: Array
    action: Array
    reward: Array
    done: NDArray[np.bool_]

    @classmethod
    def empty(cls, length: int, obs_dim: int, action_dim: int) -> Self:
        """Return arrays for `length` steps; the system provides their memory as steps are written."""
        return cls(
            np.empty((length, obs_dim), np.float32),
            np.empty((length, action_dim), np.float32),
            np.empty(length, np.float32),
            np.empty(length, np.bool_),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in vars(self).values())

    def put(self, index: int, *values: Array | float | bool) -> None:
        """Write a step. A step is never written twice."""
        for array, value in zip(vars(self).values(), values, strict=True):
            array[index] = value

    def transitions(self, length: int) -> Part:
        """Return views of the first `length` steps."""
        return {name: array[:length] for name, array in vars(self).items()}

    def finished(self, length: int) -> Part:
        """Return the first `length` steps in arrays of that length."""
        full = length == len(self.reward)
        return {name: array if full else array[:length].copy() for name, array in vars(self).items()}


@dataclass(frozen=True)
class Episode:
    """A finished episode; all arrays are read-only.

    Attributes:
        obs: (T, obs_dim) float32.
        action: (T, action_dim) float32.
        reward: (T,) float32.
        done: (T,) bool.
        keys: (T, K) float32, by which its steps are compared: `obs` itself, or an encoder's features.
        inverse_norms: (T,) float32, 1 / length of each key, 0 for a key of zeros.
        direction: (K,) float32, the mean of the keys after each is scaled to length 1.
        bounds: bounds of the similarity of its steps to any query; None where they would not help.
    """

    obs: Array
    action: Array
    reward: Array
    done: NDArray[np.bool_]
    keys: Array
    inverse_norms: Array
    direction: Array
    bounds: StepBounds | None

    @classmethod
    def of(cls, part: Part, keys: Array) -> Self:
        """Return the episode of arrays that are not changed any more."""
        norms = np.linalg.norm(keys, axis=1)
        inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
        direction = (inverse @ keys) / np.float32(len(keys))
        bounds = StepBounds.of(keys, inverse)
        episode = cls(part["obs"], part["action"], part["reward"], part["done"], keys, inverse, direction, bounds)
        for array in episode._arrays():
            array.flags.writeable = False
        return episode

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum({id(array): array.nbytes for array in self._arrays()}.values())

    def transitions(self) -> Part:
        """Return its steps."""
        return {name: getattr(self, name) for name in ("obs", "action", "reward", "done")}

    def _arrays(self) -> list[NDArray]:
        own = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return own + (list(vars(self.bounds).values()) if self.bounds else [])
