"""Transforms in order, and different ones by dataset: undone in reverse, and saved as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tempovla.storage.json_files import shown
from tempovla.storage.said_by import said_by
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Task, Tracks, Transform, Window
from tempovla.timeline.assets import Assets, assets_of, with_files
from tempovla.timeline.hub import from_disk_alone
from tempovla.timeline.lazy import LazyRegistry
from tempovla.timeline.sample import TimelineSample, join_contexts, join_tracks, map_tracks
from tempovla.transform.align import AlignStreams
from tempovla.transform.join import JoinStreams


class TransformPipeline:
    """Transforms in order; itself a `Transform`."""

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Apply every step in order."""
        for step in self.steps:
            context, future = step.forward(context, future)
        return context, future

    def forward_sample(self, sample: TimelineSample) -> TimelineSample:
        """Apply every step to a training sample."""
        context, future = self.forward(sample.context, sample.future)
        return TimelineSample(context, future, sample.seed)

    @property
    def joined(self) -> TransformPipeline:
        """The steps that remain for a loader's rows, which are joined and went through their view already."""
        return TransformPipeline([step for step in self.steps if not isinstance(step, PerDataset | JoinStreams)])

    def own_windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return a policy's windows under the names that raw observations have in its dataset."""
        for step in self.steps:
            windows = step.own_windows(windows) if isinstance(step, JoinStreams) else windows
        return tuple(windows)

    def accepted_windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return windows on raw observations under every name that they may be given by.

        Args:
            windows: a bundle's, under the dataset's own names.
        """
        joins = [step for step in self.steps if isinstance(step, JoinStreams)]
        offsets = {window.key: window.offsets for window in windows}
        for forms in (forms for join in joins for forms in join.forms.values()):
            like = offsets.get(forms[0][0].key)
            if like is not None:
                offsets = {part.key: like for form in forms for part in form} | offsets
        named = [window.key for window in windows]
        return (*windows, *(Window(key, steps) for key, steps in offsets.items() if key not in named))

    def forward_context(self, context: Context) -> Context:
        """Apply every step to a context of control."""
        return self.forward(context, {})[0]

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Undo every step on actions, last step first."""
        for step in reversed(self.steps):
            action = step.inverse(action)
        return action

    def to_json(self) -> dict[str, Any]:
        """Return all steps with their statistics; `from_json` reads it back."""
        steps = [{"name": TRANSFORM_REGISTRY.name_of(type(step)), **step.to_json()} for step in self.steps]  # type: ignore[attr-defined]
        return {"steps": steps}

    def assets(self) -> dict[str, bytes]:
        """Return the files that steps need beside their JSON, by path in a bundle."""
        return assets_of(self.steps)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], assets: Assets = MappingProxyType({})) -> TransformPipeline:
        """Read what `to_json` wrote; models that it names are read from the disk alone (`tempovla.timeline.hub`).

        Args:
            data: the steps.
            assets: files that steps need, as `assets` gave them; what is not there is looked for where it was then.

        Raises:
            ValueError: if a step's name is not in `TRANSFORM_REGISTRY`, or its fields are not its own.
        """
        data = with_files(data, assets)
        with said_by("transforms", remedy="copy the bundle again"), from_disk_alone():
            if not isinstance(data["steps"], list):
                raise ValueError(f"steps is {shown(data['steps'])}; it must be a list of transforms")
            for place, entry in enumerate(data["steps"]):
                if entry in data["steps"][:place]:
                    raise ValueError(f"steps[{place}] is {shown(entry)} once more; a transform is applied once")
            return cls([_step_from_json(**entry) for entry in data["steps"]])

    @classmethod
    def of(cls, bundle: Bundle) -> TransformPipeline:
        """Return the transforms of a bundle.

        Raises:
            ValueError: as `from_json`, naming the file.
        """
        folder = Path(bundle.origin)
        where = folder / "transform.json" if bundle.origin and folder.is_dir() else bundle.origin or "transforms"
        with said_by(where, remedy="copy the bundle again"):
            return cls.from_json(bundle.transform, bundle.assets)


@dataclass(frozen=True)
class DatasetView:
    """A `Transform` of one dataset's rows to the common form of several datasets.

    Attributes:
        embodiment: the body that was recorded.
        steps: transforms of its own streams, such as normalisation by its own statistics.
        align: brings the results into the common form.
        join: makes these streams of raw observations, where they are joined from others; a loader's are joined.
    """

    embodiment: Embodiment
    steps: TransformPipeline
    align: AlignStreams
    join: JoinStreams = field(default_factory=JoinStreams)

    @property
    def all_steps(self) -> tuple[Transform, ...]:
        """The transforms of raw observations, in order."""
        return (*([self.join] if self.join.forms else []), *self.steps.steps, self.align)

    def windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return a policy's windows as windows on this dataset's streams, joined ones included."""
        return self.align.own_windows(windows)

    def raw_windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return a policy's windows as windows on raw observations."""
        return self.join.own_windows(self.windows(windows))

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Its own steps, then the alignment."""
        return self.align.forward(*self.steps.forward(context, future))

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return actions in the body's dimensions and units."""
        return self.steps.inverse(self.align.inverse(action))

    def assets(self) -> dict[str, bytes]:
        """Return the files that its own steps need."""
        return self.steps.assets()

    def to_json(self) -> dict[str, Any]:
        """Return the whole pipeline as plain JSON values."""
        join = {"join": self.join.to_json()} if self.join.forms else {}
        return {"embodiment": self.embodiment.to_json(), **self.steps.to_json(), "align": self.align.to_json(), **join}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DatasetView:
        """Read what `to_json` wrote."""
        align = AlignStreams.from_json(data["align"])
        join = JoinStreams.from_json(data["join"]) if "join" in data else JoinStreams()
        return cls(Embodiment.from_json(data["embodiment"]), TransformPipeline.from_json(data), align, join)


@dataclass(frozen=True)
class PerDataset:
    """Each row goes through the view of the dataset that its task names.

    A loader applies the views by itself, before it joins rows (`TransformPipeline.joined` is what remains to be done);
    in control the rows are of one body, and raw.

    Attributes:
        views: by name of the dataset.
    """

    views: Mapping[str, DatasetView]

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Return rows of each dataset through its view.

        Raises:
            ValueError: if a row's dataset is not one of these.
        """
        groups = self._groups(context.task)
        if len(groups) == 1:
            view = self.views[next(iter(groups))]
            return view.forward(*view.join.forward(context, future))
        contexts, futures = [], []
        for name, rows in groups.items():
            index = torch.tensor(rows, device=context.device)
            chosen = map_tracks(future, lambda _, track, index=index: track.rows(index))  # type: ignore[misc]
            view = self.views[name]
            seen, later = view.forward(*view.join.forward(context.rows(rows), chosen))
            contexts.append(seen)
            futures.append(later)
        back = _order(groups)
        joined = map_tracks(
            join_tracks(futures), lambda _, track: track.rows(torch.tensor(back, device=context.device))
        )
        return join_contexts(contexts).rows(back), joined

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return each row in the dimensions and units of its body; beyond a body's dimensions, up to the widest one's,
        0.

        Raises:
            ValueError: if the rows' tasks are not given, or of another dataset.
        """
        if not action.task:
            raise ValueError(
                f"actions for the datasets {sorted(self.views)} need ActionChunk.task, which names the dataset"
            )
        groups = self._groups(action.task)
        if len(groups) == 1:
            return self.views[next(iter(groups))].inverse(action)
        parts = {name: self.views[name].inverse(action.rows(torch.tensor(rows))) for name, rows in groups.items()}
        width = max(part.value.shape[-1] for part in parts.values())
        value = action.value.new_zeros((*action.value.shape[:2], width))
        for name, part in parts.items():
            value[groups[name], :, : part.value.shape[-1]] = part.value
        return action.with_value(value)

    def _groups(self, task: Sequence[Task]) -> dict[str, list[int]]:
        """Rows by dataset."""
        groups: dict[str, list[int]] = {}
        for row, each in enumerate(task):
            groups.setdefault(each.dataset, []).append(row)
        for name in groups:
            if name not in self.views:
                raise ValueError(f"the policy learned from the datasets {sorted(self.views)}, not {name!r}; choose one")
        return groups

    def assets(self) -> dict[str, bytes]:
        """Return the files that the views need."""
        return assets_of(self.views.values())

    def to_json(self) -> dict[str, Any]:
        """Return all views, in order."""
        return {"views": [{"dataset": name, **view.to_json()} for name, view in self.views.items()]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PerDataset:
        """Read what `to_json` wrote."""
        for view in data["views"]:
            if not isinstance(view["dataset"], str):
                raise ValueError(f"dataset {shown(view['dataset'])} of a view must be the name of a dataset")
        return cls({view["dataset"]: DatasetView.from_json(view) for view in data["views"]})


def _order(groups: Mapping[str, Sequence[int]]) -> list[int]:
    """Where each row stands among the rows group after group."""
    gathered = [row for rows in groups.values() for row in rows]
    return sorted(range(len(gathered)), key=gathered.__getitem__)


TRANSFORM_REGISTRY: LazyRegistry[type[Any]] = LazyRegistry(
    {
        "blank_images": "tempovla.transform.blind:BlankImages",
        "resize_images": "tempovla.transform.image:ResizeImages",
        "crop_images": "tempovla.transform.image:CropImages",
        "resize_depth": "tempovla.transform.depth:ResizeDepth",
        "crop_points": "tempovla.transform.points:CropPoints",
        "limit_points": "tempovla.transform.points:LimitPoints",
        "scale_points": "tempovla.transform.points:ScalePoints",
        "join_streams": JoinStreams,
        "remap_gripper": "tempovla.transform.gripper:RemapGripper",
        "normalize": "tempovla.transform.normalize:Normalize",
        "waypoints": "tempovla.transform.waypoints:Waypoints",
        "embed_instruction": "tempovla.transform.text:EmbedInstruction",
        "tokenize_instruction": "tempovla.transform.tokenize:TokenizeInstruction",
        "align_streams": AlignStreams,
        "per_dataset": PerDataset,
    }
)
"""Transforms by the names that they have in a bundle."""


def _step_from_json(name: str, **fields: Any) -> Transform:
    if name not in TRANSFORM_REGISTRY:
        raise ValueError(f"transform {name!r} is unknown; registered are {sorted(TRANSFORM_REGISTRY)}")
    return TRANSFORM_REGISTRY[name].from_json(fields)
