"""Checks of TorchScript files (`.pt`) before torch reads them: only arithmetic, and only tensors as data."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tempovla.control.exported.archive import RefusedFileError, TorchArchive, pickled_names, torch_archive
from tempovla.control.exported.operators import script_may_call

_CODE = r"code/__torch__/[A-Za-z0-9_/]+\.py"
_MEMBERS = re.compile(
    rf"{_CODE}(\.debug_pkl)?|data\.pkl|constants\.pkl|(data|constants)/\d+|version|byteorder|"
    r"\.data/(version|serialization_id)"
)
_PACKED = re.compile(rf"{_CODE}(\.debug_pkl)?")
_PLAIN_TEXT = re.compile(r"[\n !\"$-\[\]-~]*")
"""Printable ASCII without comments and backslashes, which Python and TorchScript could read differently."""
_PICKLED = re.compile(
    r"__torch__(\.[A-Za-z_]\w*)+ [A-Za-z_]\w*|torch\._utils _rebuild_(tensor_v2|parameter)|"
    r"torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage|collections OrderedDict|"
    r"torch\.jit\._pickle (build_(int|double|bool|tensor)list|restore_type_tag)"
)
_NODES = (
    *(ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AnnAssign),
    *(ast.Expr, ast.If, ast.For, ast.While, ast.Pass, ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Constant),
    *(ast.List, ast.Tuple, ast.Subscript, ast.Slice, ast.IfExp, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def check_script(path: Path) -> None:
    """Refuse a file that calls anything but arithmetic, or holds anything but code and tensors.

    Raises:
        RefusedFileError: naming the file and what it holds or calls.
    """
    with torch_archive(path, _MEMBERS, _PACKED) as archive:
        for name in archive:
            if name.endswith(".py"):
                _check_code(archive, name)
            elif name.endswith("pkl"):
                for said in pickled_names(path, name, archive.read(name)):
                    if not _PICKLED.fullmatch(said):
                        raise RefusedFileError(path, f"member {name!r} names {said!r}, which no export does")


def _check_code(archive: TorchArchive, name: str) -> None:
    text = archive.read(name).decode("latin-1")
    if not _PLAIN_TEXT.fullmatch(text) or "'''" in text or '"""' in text:
        raise RefusedFileError(archive.path, f"member {name!r} is no code as torch writes it")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RefusedFileError(archive.path, f"member {name!r} is no code as torch writes it") from None
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise RefusedFileError(archive.path, f"its code has a {type(node).__name__}, which no export has")
        if isinstance(node, ast.Call):
            called = _dotted(node.func)
            if called is None or not script_may_call(called):
                what = called or "something without a name"
                raise RefusedFileError(archive.path, f"its code calls {what!r}, which is not arithmetic")


def _dotted(node: ast.expr) -> str | None:
    """`torch.add` of such a node; None of another."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        home = _dotted(node.value)
        return None if home is None else f"{home}.{node.attr}"
    return None
