import pytest
import torch

from tempovla.model.fusion.gated import GatedFusion


def made(gamma: float = 0.0) -> tuple[GatedFusion, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    fusion = GatedFusion(16, 6, num_heads=4)
    with torch.no_grad():
        fusion.gamma.fill_(gamma)
    valid = torch.tensor([[True, True, False, True, False], [False] * 5])
    return fusion, torch.randn(2, 3, 16), torch.randn(2, 5, 6), valid


def test_the_closed_gate_leaves_tokens_as_they_are_bit_for_bit():
    fusion, tokens, context, valid = made()
    assert fusion.gamma == 0
    assert torch.equal(fusion(tokens, context, valid), tokens)
    assert torch.equal(fusion(tokens, 1e6 * context, valid), tokens)


def test_the_closed_gate_already_has_a_gradient():
    fusion, tokens, context, valid = made()
    (fusion(tokens, context, valid) * torch.randn(2, 3, 16)).sum().backward()
    assert fusion.gamma.grad != 0
    assert all(weight.grad is not None for weight in fusion.parameters())


def test_an_open_gate_lets_valid_context_in_and_nothing_else():
    fusion, tokens, context, valid = made(gamma=0.5)
    out = fusion(tokens, context, valid)
    assert (out[0] - tokens[0]).abs().max() > 1e-3
    hidden = torch.where(valid[..., None], context, torch.nan)
    assert torch.equal(fusion(tokens, hidden, valid), out)
    changed = context.clone()
    changed[0, 3] += 1.0
    assert not torch.equal(fusion(tokens, changed, valid)[0], out[0])


def test_a_row_without_context_stays_as_it_is():
    fusion, tokens, context, valid = made(gamma=0.5)
    assert torch.equal(fusion(tokens, context, valid)[1], tokens[1])
    nothing = torch.full_like(context, torch.nan)
    out = fusion(tokens, nothing, torch.zeros_like(valid))
    assert torch.equal(out, tokens)
    out.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in fusion.parameters())


def test_tokens_keep_their_dtype():
    fusion, tokens, context, valid = made(gamma=0.5)
    fusion.to(torch.bfloat16)
    assert fusion(tokens.to(torch.bfloat16), context, valid).dtype == torch.bfloat16


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim=16 is not divisible by num_heads=5"):
        GatedFusion(16, 6, num_heads=5)
