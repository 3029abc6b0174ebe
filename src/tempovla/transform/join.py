"""Streams that are joined from a dataset's own ones, so that control can use the dataset's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tempovla.timeline import ActionChunk, Context, Track, Tracks, Window
from tempovla.timeline.parts import StreamPart

Form = tuple[StreamPart, ...]
"""Parts that make one stream when they are joined in this order."""


@dataclass(frozen=True)
class JoinStreams:
    """Turns raw observations under a dataset's own names into the policy's streams.

    In training the dataset itself offers the joined streams (`data.stream_keys`), so a loader's batches do not go
    through this step (`TransformPipeline.joined`); in control the observations are raw, and do.

    Attributes:
        forms: by the policy's key, the forms in which an observation may be given. The first one has the names that
            the dataset was trained on by. Of several that are there, the first is taken.
    """

    forms: Mapping[str, tuple[Form, ...]] = field(default_factory=dict)

    def own_windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return a policy's windows under the dataset's own names."""
        offsets: dict[str, set[int]] = {}
        optional: dict[str, bool] = {}
        for window in windows:
            own = [part.key for part in self.forms[window.key][0]] if window.key in self.forms else [window.key]
            for key in own:
                offsets.setdefault(key, set()).update(window.offsets)
                optional[key] = optional.get(key, True) and window.optional
        return tuple(Window(key, tuple(sorted(steps)), optional[key]) for key, steps in offsets.items())

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Join the given streams of past, present and future.

        Raises:
            ValueError: if no form of a stream is given as a whole, or one has another size than the dataset's.
        """
        given = {*context.past, *context.now, *future}
        for key, forms in self.forms.items():
            form = next((form for form in forms if all(part.key in given for part in form)), None)
            if form is None:
                raise ValueError(missing_parts(key, forms, given))
            past, now, future = (_joined(tracks, key, form) for tracks in (context.past, context.now, future))
            context = replace(context, past=past, now=now)
        return context, future

    def under_own_names(self, context: Context) -> Context:
        """Return the present observations under the dataset's names of the training, whichever form they are given in.

        Raises:
            ValueError: if no form is given as a whole, or what is given leaves out dimensions of a dataset's stream.
        """
        for key, forms in self.forms.items():
            own = forms[0]
            if all(part.key in context.now for part in own):
                continue
            if not all(part.is_whole for part in own):
                raise ValueError(missing_parts(key, forms[:1], {*context.now}))
            joined = self.forward(context, {})[0].now
            value = joined[key].value.split([part.width for part in own], dim=-1)
            parts = {part.key: joined[key].with_value(piece) for part, piece in zip(own, value, strict=True)}
            context = replace(context, now={name: track for name, track in joined.items() if name != key} | parts)
        return context

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is: joined, in the dataset's order."""
        return action

    def to_json(self) -> dict[str, Any]:
        """Return all forms."""
        return {
            "forms": {key: [[part.to_json() for part in form] for form in forms] for key, forms in self.forms.items()}
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JoinStreams:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if a stream has no form, or a form no part.
        """
        found = {
            key: tuple(tuple(StreamPart.from_json(part) for part in form) for form in forms)
            for key, forms in data["forms"].items()
        }
        for key, forms in found.items():
            if not forms or not all(forms):
                raise ValueError(f"forms[{key!r}] has no part of a stream; it must name what is joined")
        return cls(found)


def joins_of(transform: Mapping[str, Any]) -> tuple[JoinStreams, ...]:
    """Return the steps of this kind among a bundle's transforms, which are JSON."""
    return tuple(JoinStreams.from_json(step) for step in transform["steps"] if step["name"] == "join_streams")


def raw_size(forms: Sequence[Form], key: str, joined: int) -> int:
    """Return dimensions that a raw observation of `key` itself has, of a stream of `joined` ones made of `forms`."""
    return next((part.size for form in forms for part in form if part.key == key), joined)


def missing_parts(key: str, forms: Sequence[Form], given: set[str]) -> str:
    """Return the message about a stream of which no form is complete."""
    first = [part.key for part in forms[0]]
    missing = list(dict.fromkeys(name for name in first if name not in given))
    others = [" + ".join(map(str, form)) for form in forms[1:]]
    remedy = f"add them, or give {' or '.join(others)} instead" if others else "add them"
    whole = " + ".join(map(str, forms[0]))
    return f"the policy needs streams {missing} for {key!r} = {whole}, but is given {sorted(given)}; {remedy}"


def _joined(tracks: Tracks, key: str, form: Form) -> dict[str, Track]:
    """Tracks with the joined one instead of its parts; as they are where the parts are not among them."""
    if not all(part.key in tracks for part in form):
        return dict(tracks)
    chosen = [tracks[part.key] for part in form]
    values = [track.value if track.value.dim() > 2 else track.value[..., None] for track in chosen]  # bare numbers
    value = join_values(values, form)
    valid = torch.stack([track.valid for track in chosen]).all(dim=0)
    parts = {part.key for part in form}
    kept = {name: track for name, track in tracks.items() if name not in parts}
    return kept | {key: Track(value, valid, chosen[0].offset)}


def join_values(values: Sequence[Tensor], form: Form) -> Tensor:
    """Return values (..., size) of a form's streams as one tensor (..., D); numbers of different types become float32.

    Raises:
        ValueError: if one has another size.
    """
    taken = []
    for value, part in zip(values, form, strict=True):
        if value.shape[-1] != part.size:
            raise ValueError(
                f"stream {part.key!r} has {value.shape[-1]} dimensions, not {part.size}; give observations of the "
                "robot that the policy was trained on"
            )
        taken.append(value[..., part.start : part.stop])
    if len({value.dtype for value in taken}) > 1 or not taken[0].is_floating_point():
        taken = [value.float() for value in taken]
    return taken[0] if len(taken) == 1 else torch.cat(taken, dim=-1)
