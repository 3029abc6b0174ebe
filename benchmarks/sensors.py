"""Sensors and their fusion on a CPU: farthest points beside other packages, neighbours, encoders, cameras and BEV.

    python benchmarks/sensors.py [--json FILE] [--points 16384] [--samples 1024] [--runs 5]

CPU milliseconds on one thread, the best of a few runs taken in turns. `fpsample` and `torch-quickfps` are compared if
they are installed. What learns is measured forward alone and with its backward pass, for one sample. The loader reads
files in nuScenes' format that are written first.
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from driving_scenes import record, sweep_of
from selective_scan import cpu_model
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.model.fusion import BEVFusion, LiftConfig, align_bev, build_lift, projected_depth
from tempovla.model.sensor import (
    BEVGridConfig,
    CameraBackbone,
    DepthEncoder,
    IMUEncoder,
    PillarEncoder,
    PointCloudEncoder,
    RadarPillars,
    ball_query,
    farthest_point_sampling,
    gather_points,
)
from tempovla.timeline import Window
from tempovla.timeline.driving import CAMERA_KEYS, IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

GRID = BEVGridConfig()
PICTURE = (112, 200)
SWEEP = (32, 360)
"""Beams and directions of the LiDAR whose points the encoders read."""
YAWS_DEG = (0.0, -56.0, -110.0, 180.0, 108.0, 55.0)
Run = Callable[[], Any]


def sweep(points: int) -> Tensor:
    """Points (1, N, 4) of a street, and an intensity from 0 to 1."""
    return torch.from_numpy(sweep_of(points)[None, :, :4]) / torch.tensor([1.0, 1.0, 1.0, 255.0])


def rig() -> tuple[Tensor, Tensor]:
    """Intrinsics (1, 6, 3, 3) and poses (1, 6, 4, 4) like those of nuScenes' cameras, for small pictures."""
    intrinsics, poses = [], []
    for yaw in map(math.radians, YAWS_DEG):
        focal = (809.0 if math.cos(yaw) == -1 else 1266.0) * PICTURE[1] / 1600
        intrinsics.append([[focal, 0.0, PICTURE[1] / 2], [0.0, focal, PICTURE[0] / 2], [0.0, 0.0, 1.0]])
        cos, sin = math.cos(yaw), math.sin(yaw)
        poses.append(
            [[sin, 0.0, cos, 0.7 + cos], [-cos, 0.0, sin, 0.5 * sin], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
        )
    return torch.tensor(intrinsics)[None], torch.tensor(poses)[None]


def best_ms(runs: dict[str, Run], repeats: int) -> dict[str, float]:
    """CPU milliseconds of each, the best of runs that are taken in turns."""
    found = dict.fromkeys(runs, math.inf)
    for _ in range(repeats + 1):  # the first turn warms up
        for name, run in runs.items():
            start = time.process_time()
            run()
            found[name] = min(found[name], 1e3 * (time.process_time() - start))
    return found


def installed(name: str) -> Any:
    """A package that may be there, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


def sampling_runs(points: Tensor, count: int) -> dict[str, Run]:
    """Farthest-point sampling by each package."""
    found: dict[str, Run] = {"tempovla, torch": lambda: farthest_point_sampling(points, count)}
    quickfps, fpsample = installed("torch_quickfps"), installed("fpsample")
    if quickfps is not None:
        found["tempovla, quickfps"] = lambda: farthest_point_sampling(points, count, backend="quickfps")
        found["torch-quickfps, buckets"] = lambda: quickfps.sample_idx(points, count, start_idx=0)
        found["torch-quickfps, plain"] = lambda: quickfps.sample_idx_baseline(points, count, start_idx=0)
    if fpsample is not None:
        array = points[0].numpy()
        found["fpsample, buckets"] = lambda: fpsample.bucket_fps_kdline_sampling(array, count, h=5, start_idx=0)
        found["fpsample, plain"] = lambda: fpsample.fps_sampling(array, count, start_idx=0)
    return found


def distances_and_sort(points: Tensor, centres: Tensor, radius: float, most: int) -> tuple[Tensor, Tensor]:
    """The neighbours as all distances give them, for comparison."""
    distances = torch.cdist(centres, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(most, dim=2, largest=False)
    return nearest.indices, nearest.values <= radius


def learning_runs(given: dict[str, tuple[nn.Module, tuple[Any, ...]]]) -> dict[str, Run]:
    """Forward without gradients, and forward with backward, of each module."""
    found: dict[str, Run] = {}
    for name, (module, inputs) in given.items():
        found[f"{name}: forward"] = lambda m=module, i=inputs: forward(m, i)
        found[f"{name}: with backward"] = lambda m=module, i=inputs: backward(m, i)
    return found


@torch.no_grad()
def forward(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    module(*inputs)


def backward(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    out = module(*inputs)
    (out[0] if isinstance(out, tuple) else out).sum().backward()


def encoders() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Modules with the inputs of one sample."""
    torch.manual_seed(0)
    points, pictures = sweep(SWEEP[0] * SWEEP[1]), torch.rand(1, len(YAWS_DEG), 3, *PICTURE)
    backbone = CameraBackbone()
    features = backbone(pictures).detach().requires_grad_()
    bev = torch.randn(1, 64, GRID.rows, GRID.columns)
    return {
        "PointNet++": (PointCloudEncoder(), (points,)),
        "LiDAR pillars": (PillarEncoder(GRID), (points,)),
        "radar pillars": (RadarPillars(GRID), (torch.randn(1, 200, 5) * 10,)),
        "IMU": (IMUEncoder(), (torch.randn(1, 50, 6),)),
        "depth picture": (DepthEncoder(), (20 * torch.rand(1, 1, *PICTURE),)),
        "six cameras": (backbone, (pictures,)),
        "lift, splat": (build_lift(GRID, 64, LiftConfig("splat")), (features, *rig())),
        "lift, sample": (build_lift(GRID, 64, LiftConfig("sample")), (features, *rig())),
        "BEV fusion": (
            BEVFusion(dict.fromkeys(("cameras", "lidar", "radar"), 64)),
            (dict.fromkeys(("cameras", "lidar", "radar"), bev),),
        ),
    }


def geometry_runs(points: Tensor, count: int) -> dict[str, Run]:
    """What has no weights."""
    radius, most = 2.0, 32
    centres = gather_points(points, farthest_point_sampling(points, count))
    intrinsics, poses = rig()
    there = torch.ones(points.shape[:2], dtype=torch.bool)
    bev, motion = torch.randn(1, 64, GRID.rows, GRID.columns), torch.tensor([[4.0, 0.2, 0.1]])
    size = (PICTURE[0] // CameraBackbone.STRIDE, PICTURE[1] // CameraBackbone.STRIDE)
    return {
        f"ball query, {radius} m, {most} neighbours": lambda: ball_query(points, centres, radius, most),
        "the same by all distances": lambda: distances_and_sort(points, centres, radius, most),
        "projected depth": lambda: projected_depth(points, there, intrinsics, poses, size),
        "alignment of a map": lambda: align_bev(bev, motion, GRID),
    }


def loaded_per_s(key_frames: int = 40, repeats: int = 3) -> dict[str, float]:
    """Samples that the loader makes in a CPU second out of files in nuScenes' format, the best of a few epochs."""
    now = {"state": [Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(6)))]}
    now["state, LiDAR"] = [*now["state"], Window(LIDAR_KEY, (0,))]
    now["state, six cameras"] = [*now["state"], *(Window(camera, (0,)) for camera in CAMERA_KEYS)]
    others = (LIDAR_KEY, RADAR_KEY, IMU_KEY)
    now["state, six cameras, LiDAR, radar, IMU"] = [*now["state, six cameras"], *(Window(key, (0,)) for key in others)]
    found = dict.fromkeys(now, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), key_frames, SWEEP[0] * SWEEP[1], PICTURE)
        for name, windows in now.items():
            mixture = Mixture([open_nuscenes(folder)])
            batches = iter(SampleLoader(mixture, windows, LoaderConfig(8, preload_bytes=0), seed=0))
            for _ in range(repeats):
                start = time.process_time()
                made = sum(next(batches).seed.numel() for _ in range(key_frames // 8))
                found[name] = max(found[name], made / (time.process_time() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cloud = sweep(args.points)[..., :3].contiguous()
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {cpu_model()}, one thread",
        "versions": versions(),
        "sampling": best_ms(sampling_runs(cloud, args.samples), args.runs),
        "geometry": best_ms(geometry_runs(cloud, args.samples), args.runs),
        "encoders": best_ms(learning_runs(encoders()), args.runs),
        "loader": loaded_per_s(),
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report, args)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package, module in (("torch-quickfps", "torch_quickfps"), ("fpsample", "fpsample")):
        if installed(module) is not None:
            found[package] = metadata.version(package)
    return found


def print_report(report: dict[str, Any], args: argparse.Namespace) -> None:
    print(report["machine"])
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    fastest = min(report["sampling"].values())
    print(f"\n{args.points} points to {args.samples} farthest ones; the ratio is to the fastest")
    for name, milliseconds in report["sampling"].items():
        print(f"{name:40}{milliseconds:9.2f} ms{milliseconds / fastest:8.2f}x")
    print(f"\n{args.points} points, {args.samples} centres, six cameras, a map of {GRID.rows} x {GRID.columns}")
    for name, milliseconds in report["geometry"].items():
        print(f"{name:40}{milliseconds:9.2f} ms")
    print(f"\none sample: {SWEEP[0] * SWEEP[1]} points, six pictures of {PICTURE[0]} x {PICTURE[1]}")
    for name, milliseconds in report["encoders"].items():
        print(f"{name:40}{milliseconds:9.2f} ms")
    print("\nsamples a CPU second, read and decoded from files in nuScenes' format")
    for name, rate in report["loader"].items():
        print(f"{name:40}{rate:9.0f} /s")


if __name__ == "__main__":
    main()
