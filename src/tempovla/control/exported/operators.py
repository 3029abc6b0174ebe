"""The operators that a graph from a file may name: arithmetic on the tensors that it is given, and nothing else.

Torch knows operators that open and write files (`aten::from_file`, `aten::save`), and some that trust indices they are
given. A list of the harmless ones is short; a list of the others would never be complete.
"""

from __future__ import annotations

TENSOR_OPERATORS = frozenset(
    """
    __and__ __lshift__ __or__ __rshift__ __xor__ _assert_tensor_metadata _convolution _convolution_mode
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d upsample_nearest2d abs acos acosh
    adaptive_avg_pool1d adaptive_avg_pool2d add add_ addbmm addcdiv addcmul addmm addmv alias all amax amin aminmax
    any arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm
    bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm broadcast_to bucketize
    cat ceil celu chunk clamp clamp_ clamp_max clamp_min clone concat constant_pad_nd contiguous conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d copysign cos cosh cross cummax cummin cumprod cumsum detach detach_
    diagonal diff div div_ dot dropout einsum elu embedding empty_like eq erf erfc erfinv exp exp2 expand expand_as
    expm1 eye fill fill_ flatten flip floor floor_divide fmod frac full full_like gather ge gelu glu group_norm
    gru_cell gt hardsigmoid hardswish hardtanh hypot index index_add index_put index_select instance_norm isfinite
    isinf isnan item layer_norm le leaky_relu lerp lift_fresh_copy linalg_vector_norm linear linspace log log10
    log1p log2 log_sigmoid log_softmax logaddexp logical_and logical_not logical_or logical_xor logsumexp lstm_cell
    lt mH mT masked_fill masked_select matmul max max_pool1d max_pool2d maximum mean meshgrid min minimum mish mm
    movedim mul mul_ multiply mv narrow nan_to_num ne neg new_empty new_full new_ones new_zeros nonzero norm numpy_T
    one_hot ones ones_like outer pad permute pixel_shuffle pixel_unshuffle pow prelu prod ravel reciprocal
    reflection_pad1d reflection_pad2d relu relu6 remainder repeat repeat_interleave replication_pad1d
    replication_pad2d reshape rms_norm roll round round_ rsqrt rsub scalar_tensor scaled_dot_product_attention
    scatter scatter_add searchsorted select select_scatter selu sgn sigmoid sigmoid_ sign silu sin sinh slice
    slice_scatter softmax softplus sort split split_with_sizes sqrt square squeeze stack std sub sub_ sum sym_numel
    sym_size sym_storage_offset sym_stride t take_along_dim tan tanh tanh_ tensor_split tile to topk transpose tril
    triu true_divide trunc type_as unbind unflatten unfold unsafe_chunk unsqueeze upsample_bicubic2d
    upsample_bilinear2d var var_mean view view_as where xlogy zeros zeros_like
    """.split()  # noqa: SIM905 - a list of strings would take a page
)
"""Names in `torch.ops.aten`, which TorchScript says as `torch.NAME`."""

LOOPS = frozenset({"scan", "while_loop", "wrap_with_autocast", "wrap_with_set_grad_enabled"})
"""Operators of `torch.ops.higher_order`, which take a graph that is checked as well."""

NUMBER_OPERATORS = frozenset(
    f"_operator.{name}"
    for name in (
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "getitem",
    )
) | {"torch.sym_max", "torch.sym_min", "torch.sym_not", "torch.sym_float"}
"""What a graph does with sizes, as `torch.export` names it."""

SCRIPT_FUNCTIONS = frozenset({"annotate", "bool", "float", "int", "ops.prim.NumToTensor", "torch.device", "torch.size"})
"""What TorchScript calls besides."""


def graph_may_call(target: str) -> bool:
    """Return whether a node of a `torch.export` graph may have this target, such as `torch.ops.aten.add.Tensor`."""
    parts = target.split(".")
    if parts[:3] == ["torch", "ops", "aten"]:
        return len(parts) == 5 and parts[3] in TENSOR_OPERATORS and parts[4].isidentifier()
    if parts[:3] == ["torch", "ops", "higher_order"]:
        return len(parts) == 4 and parts[3] in LOOPS
    return target in NUMBER_OPERATORS


def script_may_call(name: str) -> bool:
    """Return whether TorchScript may call a function, such as `torch.add`."""
    home, _, last = name.rpartition(".")
    return name in SCRIPT_FUNCTIONS or (home == "torch" and last in TENSOR_OPERATORS)
