"""`tempovla export`."""

from __future__ import annotations

from typing import Literal

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_device, add_json_option
from tempovla.control.exported.signature import parse_image_size
from tempovla.export.exporter import ExportConfig, Exported, export_checkpoint
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.timeline.device import choose_device

EXAMPLES = """
tempovla export --checkpoint outputs/vla/checkpoint_latest --format onnx --out outputs/policy.onnx
tempovla export --checkpoint CKPT --format torch-export --out policy.pt2 --image_size 480x640
tempovla export --checkpoint CKPT --format torchscript --out policy.pt --image_size front=480x640,wrist=128
tempovla export --checkpoint CKPT --noise numbers --out exported/ --json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "--checkpoint DIR --format FORMAT --out FILE [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="checkpoint folder of a training run")
    parser.add_argument(
        "--format",
        type=Literal["onnx", "torchscript", "torch-export"],
        default="onnx",
        help="onnx for onnxruntime and TensorRT, torch-export for torch, torchscript for older C++",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, or a folder for it")
    parser.add_argument(
        "--image_size",
        metavar="SIZE",
        help="raw pictures' height and width, if not the dataset's: 64, 480x640 or front=480x640,wrist=128",
    )
    parser.add_argument(
        "--noise",
        type=Literal["seed", "numbers"],
        default="seed",
        help="draw in the graph, from a seed, or take the random numbers as inputs",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference from PyTorch, in normalised actions"
    )
    add_device(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Export, and compare."""
    if choose_device(args.device or "cpu") != "cpu":
        raise ValueError("--device cuda: a policy is exported and compared on the CPU; leave it out, or give cpu")
    shapes = None if args.image_size is None else parse_image_size(args.image_size)
    config = ExportConfig(args.format, args.noise, args.tolerance, shapes)
    exported = export_checkpoint(args.checkpoint, args.out, config)
    return Outcome(_text(exported), _data(exported))


def _data(exported: Exported) -> dict[str, object]:
    size = exported.file.stat().st_size
    return {"file": str(exported.file), "bytes": size, "difference": exported.sidecar.figures["difference"]}


def _text(exported: Exported) -> str:
    sidecar = exported.sidecar
    lines = [f"{exported.file}: {exported.file.stat().st_size / 1e6:.2f} MB"]
    for role, specs in (("input", sidecar.inputs), ("output", (sidecar.output,))):
        lines += [f"  {role:<6} {spec.name} {('batch', *spec.shape)} {spec.dtype}".replace("'", "") for spec in specs]
    lines += [
        f"  {rows} row{'s' if rows > 1 else ' '}: at most {difference:.1e} of a normalised action from PyTorch"
        for rows, difference in exported.differences.items()
    ]
    return "\n".join(lines)
