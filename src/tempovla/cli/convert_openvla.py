"""`tempovla convert openvla`."""

from __future__ import annotations

from typing import Literal

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.recipe.systems.openvla_bundle import write_openvla_bundle
from tempovla.recipe.systems.openvla_config import OpenVLAModelConfig, OpenVLARecipe, OpenVLATransformConfig

EXAMPLES = """
tempovla convert openvla --pretrained openvla/openvla-7b-finetuned-libero-object --unnorm-key libero_object \\
    --camera observation.images.agentview_rgb --gripper-open -1 --crop-area 0.9 --out outputs/openvla_object
tempovla eval libero --checkpoint outputs/openvla_object --suite libero_object
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "--pretrained DIR --camera KEY --out DIR [options]", EXAMPLES)
    parser.add_argument("--pretrained", required=True, metavar="DIR", help="name on the hub, or folder")
    parser.add_argument("--unnorm-key", metavar="NAME", help="dataset of its norm_stats; may be left out if it is one")
    parser.add_argument("--camera", required=True, metavar="KEY", help="key of the image stream that the policy sees")
    parser.add_argument(
        "--robot", default="libero", metavar="NAME", help=f"{' or '.join(SIMULATOR_REGISTRY)}: the body that acts"
    )
    parser.add_argument(
        "--gripper-open",
        type=float,
        metavar="VALUE",
        help="what opens the robot's gripper, -1 (LIBERO, Meta-World) or 1: the model's 1 for open and 0 for closed "
        "become that and its opposite; left out, the robot gets what the model says",
    )
    parser.add_argument(
        "--crop-area", type=float, default=1.0, metavar="SHARE", help="share of the picture's area that is seen"
    )
    parser.add_argument("--tokenizer", metavar="DIR", help="name or folder, if it is not beside the weights")
    parser.add_argument("--dtype", type=Literal["bfloat16", "float32"], default="bfloat16", help="of the weights")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the bundle to write")
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Convert the checkpoint."""
    recipe = OpenVLARecipe(
        transform=OpenVLATransformConfig(
            tokenizer=args.tokenizer, gripper_open=args.gripper_open, crop_area=args.crop_area
        ),
        model=OpenVLAModelConfig(pretrained=args.pretrained, cameras=(args.camera,), dtype=args.dtype),
    )
    bundle = write_openvla_bundle(recipe, args.out, unnorm_key=args.unnorm_key, robot=args.robot)
    (dataset,) = bundle.config["norm_stats"]
    figures = {"checkpoint": args.out, "unnorm_key": dataset, "robot": bundle.embodiment.name}
    return Outcome(f"{args.out}: acts as {dataset} on {bundle.embodiment.name}", figures)
