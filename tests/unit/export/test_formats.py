"""How a policy becomes a file of each format."""

from __future__ import annotations

import logging

import pytest

from tempovla.export import formats


def test_no_rule_of_the_onnx_optimiser_looks_at_all_nodes_for_every_node():
    """Those with several outputs do: with them the time grows with the square of the graph."""
    pytest.importorskip("onnxscript")
    from onnxscript import rewriter

    before = rewriter._DEFAULT_REWRITE_RULES
    with formats._linear_rewriting():
        during = rewriter._DEFAULT_REWRITE_RULES
    assert 0 < len(during) < len(before)
    assert all(rule._target_pattern.has_single_output_node for rule in during)
    assert rewriter._DEFAULT_REWRITE_RULES is before


def test_while_a_policy_is_traced_transformers_says_nothing_of_losses():
    logger = logging.getLogger("transformers.modeling_utils")
    was = logger.isEnabledFor(logging.WARNING)
    with formats._quiet():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.WARNING) == was
