"""Exported files beside PyTorch: how far off, how large, how fast.

    python benchmarks/export_latency.py [--heads mlp,gaussian] [--formats onnx,torchscript] [--rows 1,8] [--json FILE]
    python benchmarks/export_latency.py --checkpoints DIR,DIR

Without checkpoints it takes the policy of configs/vla_metaworld.yaml with each action head, untrained, its layers that
start at zero filled with random numbers. A decision is all of the file: pictures as bytes, the robot's state and token
ids in, actions in the robot's units out. Its unit is CPU time on one thread; PyTorch and the file take turns, and
medians are reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tempovla.cli.train import build
from tempovla.control.exported.signature import image_shapes
from tempovla.export.comparison import Reference
from tempovla.export.deployed import DeployedPolicy
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.export.formats import FORMATS
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.vla.vla_model import VLAModel
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "vla_metaworld.yaml"
INSTRUCTIONS = ["open the drawer", "push the button", "close the window"]


def make_checkpoint(head: str, folder: Path) -> Path:
    """The policy of the config with this head, untrained."""
    parser = build("train vla", "")
    config = parser.instantiate(parser.parse_args(["--config", str(CONFIG), "--model.action_head", head])).model
    torch.manual_seed(0)
    policy = VLAModel(config).eval()
    with torch.no_grad():
        for weight in policy.parameters():
            if not weight.any():
                weight.normal_(std=0.05)
    size = policy.config.vlm.vision.image_size
    assert size is not None
    dims = {STATE_KEY: config.robot_state_dim, ACTION_KEY: config.action_dim}
    moments = {key: {"mean": np.zeros(dim), "std": np.ones(dim)} for key, dim in dims.items()}
    normalize = Normalize.fit(moments, {key: NormalizationConfig() for key in dims})
    words = TokenizeInstruction(WordTokenizer(policy.vlm.language.vocab_size), config.max_instruction_tokens)
    transform = TransformPipeline([ResizeImages(size), normalize, words])
    provenance = {"instructions": INSTRUCTIONS, "recording": {"image_size": size}}
    body = Embodiment("benchmark", config.robot_state_dim, config.action_dim, rate_hz=20.0)
    fields, weights = config_to_json(policy.config), policy.state_dict()
    Bundle("vla", fields, policy.windows(), body, transform.to_json(), weights, provenance).save(folder)
    return folder


def median_ms(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """CPU time of each call [ms], taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            started_s = time.process_time()
            call()
            if turn > 1:  # the first turns warm up
                taken[name].append(1e3 * (time.process_time() - started_s))
    return {name: statistics.median(values) for name, values in taken.items()}


def measure(checkpoint: Path, name: str, rows: list[int], repeats: int, folder: Path) -> dict[str, Any]:
    """One checkpoint in one format."""
    started_s = time.process_time()
    exported = export_checkpoint(checkpoint, folder, ExportConfig(name))
    seconds = time.process_time() - started_s
    bundle = Bundle.load(checkpoint)
    cameras = tuple(spec.name for spec in exported.sidecar.inputs if spec.dtype == "uint8")
    deployed = DeployedPolicy(bundle, image_shapes(bundle.provenance, cameras)).eval()
    run, reference = FORMATS[name].load(exported.file, deployed.inputs), Reference(bundle)
    latency = {}
    for count in rows:
        tensors = reference.observe(deployed, count, seed=0).tensors
        with torch.inference_mode():
            latency[count] = median_ms(
                {"torch": lambda t=tensors: deployed(*t), name: lambda t=tensors: run(t)}, repeats
            )
    size = sum(path.stat().st_size for path in folder.iterdir() if not path.name.endswith(".json"))
    return {
        "largest_difference": max(exported.differences.values()),
        "megabytes": size / 1e6,
        "nodes": exported.sidecar.figures.get("nodes"),
        "export_cpu_s": seconds,
        "latency_ms": latency,
    }


def cpu_model() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", default=",".join(ACTION_HEAD_REGISTRY), help="action heads, untrained")
    parser.add_argument("--checkpoints", help="trained policies in their place")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--rows", default="1,8", help="observations at a time")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [int(count) for count in args.rows.split(",")]
    machine = f"{platform.machine()}, {cpu_model()}, one thread"
    print(f"{machine}\ntorch {torch.__version__}, CPU ms a decision, the file's beside PyTorch's in the same turns")
    columns = "".join(f"{f'torch, {count}':>10}{f'file, {count}':>10}{'ratio':>7}" for count in rows)
    print(f"{'policy':24}{'format':14}{'difference':>11}{'MB':>7}{'nodes':>7}{'export s':>9}{columns}")
    report: dict[str, Any] = {"machine": machine, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(folder) for folder in args.checkpoints.split(",")] if args.checkpoints else []
        made = [] if folders else [make_checkpoint(head, Path(work) / head) for head in args.heads.split(",")]
        for checkpoint in folders or made:
            for name in args.formats.split(","):
                figures = measure(checkpoint, name, rows, args.repeats, Path(work) / "files" / checkpoint.name / name)
                report[f"{checkpoint} {name}" if folders else f"{checkpoint.name} {name}"] = figures
                line = f"{str(checkpoint)[-23:] if folders else checkpoint.name:24}{name:14}"
                line += f"{figures['largest_difference']:11.1e}{figures['megabytes']:7.2f}{figures['nodes'] or '':>7}"
                line += f"{figures['export_cpu_s']:9.1f}"
                for pair in figures["latency_ms"].values():
                    line += f"{pair['torch']:10.2f}{pair[name]:10.2f}{pair['torch'] / pair[name]:6.2f}x"
                print(line, flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
