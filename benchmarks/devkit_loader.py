"""nuscenes-devkit's own reading, timed for `nuscenes_loader.py`. Runs in the devkit's environment.

Usage: python devkit_loader.py ROOT camera|lidar|radar SAMPLES. Prints CPU seconds a sample.
"""

import random
import sys
import time

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
from nuscenes.utils.geometry_utils import transform_matrix
from PIL import Image
from pyquaternion import Quaternion


def pose(record):
    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def read(data, sample, modality):
    """Read all sensors of one kind in one key frame, points in the ego frame."""
    for token in sample["data"].values():
        reading = data.get("sample_data", token)
        if reading["sensor_modality"] != modality:
            continue
        path = f"{data.dataroot}/{reading['filename']}"
        if modality == "camera":
            np.asarray(Image.open(path))
            continue
        cloud = (LidarPointCloud if modality == "lidar" else RadarPointCloud).from_file(path)
        here = pose(data.get("ego_pose", reading["ego_pose_token"]))
        mount = pose(data.get("calibrated_sensor", reading["calibrated_sensor_token"]))
        cloud.transform(np.linalg.inv(here) @ here @ mount)


def main():
    root, modality, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    data = NuScenes("v1.0-mini", root, verbose=False)
    chosen = random.Random(0).choices(data.sample, k=samples)
    start = time.process_time()
    for sample in chosen:
        read(data, sample, modality)
    print((time.process_time() - start) / samples)


if __name__ == "__main__":
    main()
