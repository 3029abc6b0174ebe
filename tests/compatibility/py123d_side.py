"""Runs in an environment with py123d: writes what its parser of nuScenes reads of each key frame.

Usage: python py123d_side.py ROOT OUT.npz
"""

import sys
from pathlib import Path

import numpy as np
from py123d.datatypes import BoxDetectionsSE3, EgoStateSE3
from py123d.parser.base_dataset_parser import ParsedCamera, ParsedLidar, ParsedRadar
from py123d.parser.nuscenes.nuscenes_parser import NuScenesParser
from py123d.parser.nuscenes.nuscenes_radar_io import load_nuscenes_radar_point_cloud_data_from_path
from py123d.parser.nuscenes.nuscenes_sensor_io import load_nuscenes_point_cloud_data_from_path


def main(root, out):
    found = {}
    for number, log in enumerate(NuScenesParser(["nuscenes-mini_train"], root).get_log_parsers()):
        for step, frame in enumerate(log.iter_modalities_sync()):
            name = f"{number}/{step}/"
            cameras = 0
            for part in frame.modalities:
                if isinstance(part, EgoStateSE3):
                    found[name + "pose"] = part.imu_se3.transformation_matrix
                elif isinstance(part, BoxDetectionsSE3):
                    rows = []
                    for box in part.box_detections:
                        shape, speed = box.bounding_box_se3, box.velocity_3d
                        center = shape.center_se3
                        rows.append([center.x, center.y, center.z, shape.width, shape.length, shape.height, center.yaw])
                        rows[-1] += [speed.x, speed.y]
                    found[name + "boxes"] = np.array(rows)
                elif isinstance(part, ParsedLidar):
                    path = Path(root) / part._relative_path
                    points, features = load_nuscenes_point_cloud_data_from_path(path, part.metadata)
                    found[name + "lidar"] = points
                    found[name + "intensity"] = features["intensity"]
                elif isinstance(part, ParsedRadar):
                    path = Path(root) / part._relative_path
                    points, features = load_nuscenes_radar_point_cloud_data_from_path(
                        path, part.metadata, Path(root), part._load_kwargs
                    )
                    speeds = [features["velocity_x_comp"], features["velocity_y_comp"], features["rcs"]]
                    found[name + "radar"] = np.concatenate([points[:, :2], np.stack(speeds, axis=1)], axis=1)
                cameras += isinstance(part, ParsedCamera)
            found[name + "cameras"] = np.array(cameras)
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
