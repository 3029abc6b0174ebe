"""Checks of files of `torch.export` (`.pt2`) before torch reads them.

Torch evaluates much of such a file as Python: the sizes in it (`expr_str`, by sympy), the guards, the names of nodes,
which become source code, and weights that the file itself calls pickles. So every text in it must have the form that
torch gives it in an export of a policy.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tempovla.control.exported.archive import RefusedFileError, TorchArchive, torch_archive
from tempovla.control.exported.operators import graph_may_call
from tempovla.storage.json_files import parse_json

_MEMBERS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|version|"
    r"\.data/(version|serialization_id)"
)
_NOTHING = re.compile(r"(?!)")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*|", re.ASCII)
_EQUATION = re.compile(r"[a-z]+(,[a-z]+)*->[a-z]*")
_PLAIN_NAME = re.compile(r"([A-Za-z_]\w*)?", re.ASCII)
_STATED = re.compile(r"[\w.,;@<>\[\]() -]*", re.ASCII)
"""Where a node comes from, which torch keeps as text."""
_SYMBOL = re.compile(r"[su]\d+", re.ASCII)
_SIZE_FUNCTIONS = frozenset(
    {"Add", "Mul", "Integer", "Symbol", "FloorDiv", "Mod", "PythonMod", "CeilDiv", "Max", "Min"}
)
_ASSUMPTIONS = frozenset({"positive", "nonnegative", "integer", "real"})
_LARGEST_NUMBER = 2**63
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_METADATA = frozenset({"nn_module_stack", "torch_fn"})
_GUARD_NODES = (
    *(ast.Expression, ast.BoolOp, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Subscript, ast.Name),
    *(ast.Call, ast.Attribute, ast.boolop, ast.cmpop, ast.unaryop, ast.expr_context),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod),
)


def check_graph(path: Path) -> None:
    """Refuse a file with a pickle in it, with an operator that is not arithmetic, or with a text that torch would run.

    Raises:
        RefusedFileError: naming the file and what is in it.
    """
    with torch_archive(path, _MEMBERS, _NOTHING) as archive:
        for kind, part in (("weights", "weight"), ("constants", "tensor")):
            folder = f"data/{kind}/"
            config = _json(archive, f"{folder}model_{kind}_config.json")
            for name, payload in _objects(archive, config.get("config")):
                _check_payload(archive, folder, part, name, payload)
        program = _json(archive, "models/model.json")
        _check(path, program, "")
        for name in program.get("range_constraints") or ():
            _require(path, _SYMBOL.fullmatch(name) is not None, "range_constraints", name)
        _check_sample_inputs(archive)


def _json(archive: TorchArchive, name: str) -> dict[str, Any]:
    try:
        data = parse_json(archive.read(name).decode(), f"member {name!r}", remedy="export it again")
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, RefusedFileError):
            raise
        raise RefusedFileError(archive.path, f"member {name!r} is not readable as JSON") from None
    if not isinstance(data, dict):
        raise RefusedFileError(archive.path, f"member {name!r} holds no object")
    return data


def _objects(archive: TorchArchive, found: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise RefusedFileError(archive.path, "does not say what its weights are")
    return list(found.items())


def _check_payload(archive: TorchArchive, folder: str, part: str, name: str, payload: Mapping[str, Any]) -> None:
    """A weight must lie in the archive as plain numbers, not as a pickle."""
    path = archive.path
    _require(path, _NAME.fullmatch(name) is not None, "a weight's name", name)
    if payload.get("use_pickle") is not False:
        raise RefusedFileError(path, f"weight {name!r} is a pickle, which could run code and is not opened")
    stored = payload.get("path_name")
    if not isinstance(stored, str) or not re.fullmatch(rf"{part}_\d+", stored) or folder + stored not in archive:
        raise RefusedFileError(path, f"weight {name!r} is said to lie in {stored!r}, which no export does")
    meta = payload.get("tensor_meta")
    if not isinstance(meta, dict):
        raise RefusedFileError(path, f"weight {name!r} has no shape")
    _check(path, meta, "tensor_meta")
    said = [size.get("as_int") if isinstance(size, dict) else None for size in meta.get("sizes", ())]
    sizes = [size for size in said if isinstance(size, int) and size >= 0]
    if sizes != said:
        raise RefusedFileError(path, f"weight {name!r} has the shape {said}")
    if archive.size(folder + stored) == 0 and math.prod(sizes) > 0:
        raise RefusedFileError(path, f"weight {name!r} of shape {sizes} has no bytes")


def _check_sample_inputs(archive: TorchArchive) -> None:
    """Torch reads the examples as a pickle of tensors, and where that fails as a pickle of anything."""
    name = "data/sample_inputs/model.pt"
    data = archive.read(name)
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, TypeError):
        raise RefusedFileError(
            archive.path, f"member {name!r} is a pickle of more than tensors, which could run code and is not opened"
        ) from None


def _check(path: Path, value: Any, key: str) -> None:
    """Every text in a JSON value has the form that torch gives to texts under its key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _require(path, _NAME.fullmatch(name) is not None, "a name", name)
            if name in ("as_custom_obj", "as_operator") or (name == "custom_obj_values" and inner):
                raise RefusedFileError(path, f"its graph holds {name!r}, which no export does")
            if key == "metadata":
                _require(path, name in _METADATA or (name == "" and not inner), "metadata", name)
            _check(path, inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check(path, inner, key)
    elif isinstance(value, str):
        if key == "target" and not graph_may_call(value):
            raise RefusedFileError(path, f"its graph calls {value!r}, which is not arithmetic")
        if not _FORMS.get(key, _is_name)(value):
            raise RefusedFileError(path, f"its {key or 'program'} is {value[:80]!r}, which torch would run as code")
    elif isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise RefusedFileError(path, f"its {key or 'program'} is {str(value)[:40]}, more than 64 bits")


def _require(path: Path, holds: bool, what: str, value: str) -> None:
    if not holds:
        raise RefusedFileError(path, f"has {value[:80]!r} as {what}, which no export has")


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _is_plain_name(text: str) -> bool:
    return _PLAIN_NAME.fullmatch(text) is not None


def _is_equation(text: str) -> bool:
    """Of `einsum`, such as `bqhd,hdf->bhqf`; or a name."""
    return _is_name(text) or _EQUATION.fullmatch(text) is not None


def _is_stated(text: str) -> bool:
    return _STATED.fullmatch(text) is not None


def _is_version(text: str) -> bool:
    return re.fullmatch(r"[\w.+-]{0,80}", text, re.ASCII) is not None


def _is_tree(text: str) -> bool:
    """A tree of tuples, lists and dictionaries, of no type that would have to be imported."""
    try:
        data = parse_json(text, "tree", remedy="export it again")
    except ValueError:
        return False
    waiting = list(data) if isinstance(data, list) else [None]
    if not waiting or not isinstance(waiting.pop(0), int):
        return False
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
            return False
        if node["type"] not in _TREE_TYPES or node["context"] not in (None, "null", "[]"):
            return False
        waiting += node["children_spec"]
    return True


def _parsed(text: str) -> ast.Expression | None:
    try:
        return ast.parse(text, mode="eval") if text.isascii() and "\n" not in text else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_size(text: str) -> bool:
    """A size as sympy writes it: `Mul(Integer(2), Symbol('s15', positive=True, integer=True))`."""
    tree = _parsed(text)
    return tree is not None and _is_size_node(tree.body)


def _is_size_node(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in _SIZE_FUNCTIONS:
        return False
    if node.func.id == "Symbol":
        names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        known = all(
            word.arg in _ASSUMPTIONS and isinstance(word.value, ast.Constant) and isinstance(word.value.value, bool)
            for word in node.keywords
        )
        return len(node.args) == 1 and names != [] and _SYMBOL.fullmatch(str(names[0])) is not None and known
    if node.keywords:
        return False
    if node.func.id == "Integer":
        return len(node.args) == 1 and _is_number(node.args[0])
    return all(_is_size_node(argument) for argument in node.args)


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= _LARGEST_NUMBER


def _is_guard(text: str) -> bool:
    """A comparison of the inputs' sizes: `L['tensors'][1].size()[0] == L['tensors'][0].size()[0]`."""
    tree = _parsed(text)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _GUARD_NODES):
            return False
        if isinstance(node, ast.Name) and node.id != "L":
            return False
        if isinstance(node, ast.Attribute) and node.attr != "size":
            return False
        if isinstance(node, ast.Call) and (node.args or node.keywords or not isinstance(node.func, ast.Attribute)):
            return False
        if isinstance(node, ast.Constant) and not (
            node.value == "tensors" or (type(node.value) is int and node.value <= _LARGEST_NUMBER)
        ):
            return False
    return True


_FORMS: Mapping[str, Callable[[str], bool]] = {
    "target": graph_may_call,
    "as_string": _is_equation,
    "as_float": {"Infinity", "-Infinity"}.__contains__,
    "expr_str": _is_size,
    "guards_code": _is_guard,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "nn_module_stack": _is_stated,
    "torch_fn": _is_stated,
    "torch_version": _is_version,
    "name": _is_plain_name,
    "as_name": _is_plain_name,
    "type": {"cpu"}.__contains__,
}
"""Forms by key; texts under every other key are names, with dots at the most."""
