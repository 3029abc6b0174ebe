"""Runs in an environment with nuscenes-devkit 1.2.0: writes what the devkit reads of each key frame.

Usage: python nuscenes_side.py ROOT OUT.npz
"""

import sys

import numpy as np
from nuscenes import NuScenes
from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
from nuscenes.utils.geometry_utils import transform_matrix, view_points
from pyquaternion import Quaternion

EVERY = {"invalid_states": list(range(18)), "dynprop_states": list(range(8)), "ambig_states": list(range(5))}
JITTER_US = 1000


def pose(record):
    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def step_pose(data, sample):
    reading = data.get("sample_data", sample["data"]["LIDAR_TOP"])
    return pose(data.get("ego_pose", reading["ego_pose_token"]))


def newest(readings, time_us):
    return max((r for r in readings if r["timestamp"] <= time_us + JITTER_US), key=lambda r: r["timestamp"])


def in_ego_frame(data, reading, cloud, to_ego):
    mount = pose(data.get("calibrated_sensor", reading["calibrated_sensor_token"]))
    moved = to_ego @ pose(data.get("ego_pose", reading["ego_pose_token"])) @ mount
    cloud.transform(moved)
    return cloud.points, moved


def main(root, out):
    data = NuScenes("v1.0-mini", root, verbose=False)
    bus = NuScenesCanBus(root)
    found = {}
    for number, scene in enumerate(data.scene):
        by_channel = {}
        for reading in data.sample_data:
            if data.get("sample", reading["sample_token"])["scene_token"] == scene["token"]:
                by_channel.setdefault(reading["channel"], []).append(reading)
        messages = bus.get_messages(scene["name"], "pose")
        token, step = scene["first_sample_token"], 0
        while token:
            sample = data.get("sample", token)
            name = f"{number}/{step}/"
            step_to_global = step_pose(data, sample)
            to_ego = np.linalg.inv(step_to_global)
            found[name + "pose"] = step_to_global
            reading = newest(by_channel["LIDAR_TOP"], sample["timestamp"])
            cloud = LidarPointCloud.from_file(f"{root}/{reading['filename']}")
            cloud.points = cloud.points.astype(np.float64)
            found[name + "lidar"] = in_ego_frame(data, reading, cloud, to_ego)[0].T
            targets = []
            for channel in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT"):
                reading = newest(by_channel[f"RADAR_{channel}"], sample["timestamp"])
                cloud = RadarPointCloud.from_file(f"{root}/{reading['filename']}", **EVERY)
                points, moved = in_ego_frame(data, reading, cloud, to_ego)
                speed = moved[:2, :2] @ points[8:10]
                targets.append(np.concatenate([points[:2], speed, points[5:6]]).T)
            found[name + "radar"] = np.concatenate(targets)
            boxes = []
            for mark in sample["anns"]:
                box = data.get_box(mark)
                speed = to_ego[:3, :3] @ data.box_velocity(mark)
                box.translate(-step_to_global[:3, 3])
                box.rotate(Quaternion(matrix=to_ego[:3, :3]))
                ahead = box.orientation.rotation_matrix[:, 0]
                boxes.append([*box.center, *box.wlh, np.arctan2(ahead[1], ahead[0]), *speed[:2]])
            found[name + "boxes"] = np.array(boxes)
            for channel in by_channel:
                if channel.startswith("CAM_"):
                    camera = data.get("calibrated_sensor", by_channel[channel][0]["calibrated_sensor_token"])
                    seen = np.linalg.inv(pose(camera)) @ np.array([8.0, 0.7, 0.3, 1.0])
                    matrix = np.array(camera["camera_intrinsic"])
                    found[f"{number}/{channel}"] = view_points(seen[:3, None], matrix, normalize=True)[:2, 0]
            before = [m for m in messages if m["utime"] <= sample["timestamp"] + JITTER_US]
            found[name + "speed"] = np.array(before[-1]["vel"][0])
            token, step = sample["next"], step + 1
    places = np.stack(np.meshgrid(np.arange(-3.05, 260, 7.31), np.arange(-3.05, 210, 3.17)), axis=-1).reshape(-1, 2)
    found["places"] = places
    found["drivable"] = data.map[0]["mask"].is_on_mask(places[:, 0], places[:, 1])
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
