"""`tempovla train align`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_vlm import build_vlm_parser, run_stage

EXAMPLES = """
tempovla train align --config configs/vlm_siglip_qwen2.yaml --dataset captions.jsonl --image-root images \\
    --output-dir outputs/align
tempovla train align --config configs/vlm_siglip_qwen2.yaml --dataset captions.jsonl --image-root images \\
    --output-dir outputs/align --checkpoint outputs/align/checkpoint_latest
tempovla train align --config configs/vlm_align_tiny.yaml --dataset captions.jsonl --output-dir outputs/align_tiny \\
    --pretrained-vlm outputs/instruct_tiny/checkpoint_latest --new-projector
tempovla train align --config configs/vlm_siglip_qwen2.yaml --batch_size 16 --print_config > mine.yaml
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    return build_vlm_parser("align", name, summary, EXAMPLES)


def run(args: Namespace) -> Outcome:
    """Train the projector."""
    return run_stage("align", args)
