"""OpenVLA's checkpoints as its authors publish them: config.json and safetensors, read by name, without their code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from tempovla.model.vla.lora import ADAPTER
from tempovla.model.vla.openvla_config import OpenVLAConfig
from tempovla.model.vlm.pretrained import local_folder
from tempovla.model.vlm.prismatic import LLAMA_2_7B, PrismaticConfig, PrismaticVLM
from tempovla.model.vlm.prismatic_vision import FEATURIZERS, PrismaticViTConfig
from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.said_by import said_by
from tempovla.storage.tensors import disk_errors
from tempovla.storage.whole import new_folder
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.model_folder import excessive_size, safetensors_of
from tempovla.timeline.tensors import check_learned

REMEDY = "give the name or folder of an OpenVLA checkpoint, such as openvla/openvla-7b"

_OWN_FILES = re.compile(r"config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")


@dataclass(frozen=True)
class StoredWeights:
    """Weights in safetensors files.

    Attributes:
        folder: where the files are.
        file_of: name of every weight to its file.
    """

    folder: Path
    file_of: Mapping[str, str]

    def load_into(self, model: PrismaticVLM) -> None:
        """Give a model, built on the meta device, all its weights, in the type that it was built with.

        One file is read at a time, so that no more than one copy of the weights is in memory.

        Raises:
            ValueError: naming the first weight that is missing, unknown or of another shape, or a file that is damaged.
        """
        own = model.state_dict()
        check_names(own, self.file_of, str(self.folder))
        for file in sorted(set(self.file_of.values())):
            names = [name for name, place in self.file_of.items() if place == file]
            model.load_state_dict(self._read(file, names, own), strict=False, assign=True)
        # What is computed from the config, not stored, is still on the meta device.
        rotary = model.language_model.model.rotary_emb
        model.language_model.model.rotary_emb = type(rotary)(model.language_model.config)

    def _read(self, file: str, names: list[str], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        path = self.folder / file
        try:
            with safe_open(path, framework="pt") as stored:
                for name in sorted(names):
                    shape, wanted = tuple(stored.get_slice(name).get_shape()), tuple(own[name].shape)
                    if shape != wanted:
                        raise ValueError(
                            f"{path}: weight {name!r} is {shape}, but config.json makes it {wanted}; "
                            "copy the checkpoint again"
                        )
                weights = {name: stored.get_tensor(name).to(own[name].dtype) for name in names}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: not readable ({error}); copy the checkpoint again") from None
        check_learned(weights, str(path))
        return weights


def check_names(own: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Refuse weights that are not exactly the model's own.

    Raises:
        ValueError: naming the first that is missing or unknown.
    """
    for name in sorted(own.keys() ^ given.keys()):
        what = "lacks weight" if name in own else "has an unknown weight"
        raise ValueError(f"{where}: {what} {name!r} of OpenVLA's layout; {REMEDY}")


def read_checkpoint(
    name_or_path: str | Path, *, camera: str, dtype: Literal["bfloat16", "float32"]
) -> tuple[OpenVLAConfig, StoredWeights]:
    """Return the config of a checkpoint, and where its weights are.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another model.
    """
    folder = local_folder(str(name_or_path), "OpenVLA checkpoint")
    published = read_json(folder / "config.json", remedy=REMEDY)
    if published.get("model_type") != "openvla":
        raise ValueError(f"{folder}: model_type is {published.get('model_type')!r}, not 'openvla'; {REMEDY}")
    excess = excessive_size(published)
    if excess is not None:
        raise ValueError(f"{folder / 'config.json'}: {excess}; {REMEDY}")
    with said_by(folder / "config.json", remedy=REMEDY):
        vlm = PrismaticConfig(*_featurizers(folder, published), _language(published), dtype=dtype)
        stats = dict(published.get("norm_stats") or {})
    if (folder / "dataset_statistics.json").is_file():  # a fine-tuned checkpoint's own dataset
        stats |= read_json(folder / "dataset_statistics.json", remedy="copy the checkpoint again")
    names = {"n_action_bins": "num_bins", "pad_to_multiple_of": "padding_tokens"}
    names |= {"action_dim": "action_dim", "empty_token": "empty_token"}  # the published config has not got these
    sizes = {own: published[name] for name, own in names.items() if name in published}
    weights = StoredWeights(folder, safetensors_of(folder, "OpenVLA checkpoint"))
    with said_by(folder / "config.json", remedy=REMEDY):
        return OpenVLAConfig(vlm, camera, norm_stats=stats, **sizes), weights


def write_checkpoint(folder: str | Path, config: OpenVLAConfig, vlm: PrismaticVLM, max_shard_size: str) -> None:
    """Write a checkpoint for `read_checkpoint`, replacing an older one at once; other files in the folder stay.

    Raises:
        ValueError: if adapters have not been merged.
        NotWrittenError: if the disk does not take it.
    """
    from huggingface_hub import save_torch_state_dict

    weights = vlm.state_dict()
    if any(ADAPTER in name for name in weights):
        raise ValueError("the model has adapters still; call merge_lora() before it is saved in the published layout")
    towers = (config.vlm.featurizer, config.vlm.fused_featurizer)
    published = {
        "model_type": "openvla",
        "use_fused_vision_backbone": True,
        "image_resize_strategy": "resize-naive",
        "featurizers": [config_to_json(tower) for tower in towers],
        "text_config": dict(config.vlm.language),
        "n_action_bins": config.num_bins,
        "pad_to_multiple_of": config.padding_tokens,
        "action_dim": config.action_dim,
        "empty_token": config.empty_token,
        "norm_stats": dict(config.norm_stats),
    }
    with new_folder(Path(folder), keeps=lambda name: _OWN_FILES.fullmatch(name) is None) as staged, disk_errors():
        (staged / "config.json").write_text(to_json_text(published, indent=2) + "\n", encoding="utf-8")
        save_torch_state_dict(weights, staged, max_shard_size=max_shard_size)


def _featurizers(folder: Path, published: Mapping[str, Any]) -> tuple[PrismaticViTConfig, PrismaticViTConfig]:
    """Sizes of both vision transformers, from their names in timm, or as `write_checkpoint` wrote them."""
    strategy = published.get("image_resize_strategy", "letterbox")
    if strategy != "resize-naive":
        raise ValueError(f"{folder}: image_resize_strategy is {strategy!r}, and only 'resize-naive' is built; {REMEDY}")
    if "featurizers" in published:
        found = [config_from_json(PrismaticViTConfig, sizes, "featurizers") for sizes in published["featurizers"]]
    else:
        names = published.get("timm_model_ids", [])
        unknown = [name for name in names if name not in FEATURIZERS]
        if unknown:
            raise ValueError(f"{folder}: vision model {unknown[0]!r} is not among {sorted(FEATURIZERS)}; {REMEDY}")
        sides = published.get("image_sizes", [])
        found = [replace(FEATURIZERS[name], image_size=side) for name, side in zip(names, sides, strict=False)]
    if len(found) != 2:
        raise ValueError(f"{folder}: names {len(found)} vision models, and two side by side are needed; {REMEDY}")
    return found[0], found[1]


def _language(published: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's settings; what the checkpoint leaves out is Llama-2's."""
    given = {key: value for key, value in published.get("text_config", {}).items() if not key.startswith("_")}
    for key in ("architectures", "torch_dtype", "dtype", "transformers_version"):
        given.pop(key, None)
    return {**LLAMA_2_7B, **given} if given.get("model_type", "llama") == "llama" else given
