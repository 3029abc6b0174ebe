"""What robomimic 0.2, the reader of LIBERO's own training code, sees. Runs in its environment, without this project.

    python robomimic_side.py FILE.hdf5 OUT.npz      every sequence of ten steps, images as it gives them

The options are those with which LIBERO's ``lifelong/datasets.py`` calls it. `test_robomimic.py` calls this file.
"""

from __future__ import annotations

import contextlib
import json
import sys
import types
from importlib.util import find_spec

import numpy as np

RGB, LOW_DIM = ("agentview_rgb", "eye_in_hand_rgb"), ("joint_states", "gripper_states")


def import_robomimic():
    """Its data sets. Networks, which nothing here needs, want torchvision; where it is absent a name is enough."""
    if "torchvision" not in sys.modules and find_spec("torchvision") is None:
        for name in (
            "torchvision",
            "torchvision.models",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            module = sys.modules[name] = types.ModuleType(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
    from robomimic.utils import file_utils, obs_utils
    from robomimic.utils.dataset import SequenceDataset

    return file_utils, obs_utils, SequenceDataset


def open_sequences(path: str, length: int):
    """LIBERO's way to open a file."""
    file_utils, obs_utils, dataset_type = import_robomimic()
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"rgb": list(RGB), "low_dim": list(LOW_DIM), "depth": []}})
    meta = file_utils.get_shape_metadata_from_dataset(dataset_path=path, all_obs_keys=[*RGB, *LOW_DIM], verbose=False)
    return meta, dataset_type(
        hdf5_path=path,
        obs_keys=meta["all_obs_keys"],
        dataset_keys=["actions"],
        load_next_obs=False,
        frame_stack=1,
        seq_length=length,
        pad_frame_stack=True,
        pad_seq_length=True,
        get_pad_mask=False,
        goal_mode=None,
        hdf5_cache_mode="low_dim",
        hdf5_use_swmr=False,
        hdf5_normalize_obs=None,
    )


def read(path: str, out: str) -> None:
    """Save all sequences and what the file says about itself."""
    with contextlib.redirect_stdout(sys.stderr):
        meta, sequences = open_sequences(path, 10)
        env = import_robomimic()[0].get_env_metadata_from_dataset(path)
    items = [sequences[i] for i in range(len(sequences))]
    arrays = {key: np.stack([item["obs"][key] for item in items]) for key in (*RGB, *LOW_DIM)}
    arrays["actions"] = np.stack([item["actions"] for item in items])
    arrays["meta"] = np.array(json.dumps({"ac_dim": meta["ac_dim"], "demos": sequences.n_demos, "env": env}))
    np.savez(out, **arrays)


if __name__ == "__main__":
    read(*sys.argv[1:])
