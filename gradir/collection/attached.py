"""Docstrings that are attached by calls: NumPy's and SciPy's `add_newdoc`, PyTorch's `add_docstr` and relatives.

Their texts are put together from constants (`+`, `%`, `.format(**common_args)`). What can be worked out without running
the code is; the rest is skipped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

# module: {name: its value, a string or a dictionary of strings}
Constants = dict[str, dict[str, Any]]

# PyTorch writes the docstrings of its C extension into these modules
_HOMES = {"torch.Tensor": ("torch._tensor", "Tensor")}


class _Unknown(Exception):
    """The value depends on more than constants."""


def static_text(node: ast.expr, module: str, shared: Constants) -> str | None:
    """The text of an expression of constants; None where it needs the code to run."""
    try:
        value = _value(node, shared.setdefault(module, {}))
    except _Unknown:
        return None
    return value if isinstance(value, str) else None


def attached_docstrings(tree: ast.Module, module: str, shared: Constants) -> Iterator[tuple[tuple[str, str], str]]:
    """((module, qualname), docstring) for each call that attaches one; constants are recorded on the way.

    Args:
        tree: The parsed file.
        module: Its dotted name.
        shared: Constants by module; imports of `common_args` and the like are looked up here.
    """
    known = shared.setdefault(module, {})
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module in shared:
            for alias in statement.names:
                if alias.name in shared[statement.module]:
                    known[alias.asname or alias.name] = shared[statement.module][alias.name]
        target, call = _target_and_value(statement)
        if isinstance(call, ast.Call) and re.search(r"add_(newdoc|docstr)", ast.unparse(call.func)):
            yield from _attachment(call, target, module, known)
        elif target and call is not None:
            _remember(target, call, known)


def _target_and_value(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, statement.value
    if isinstance(statement, ast.Expr):
        return "", statement.value
    return "", None


def _remember(name: str, node: ast.expr, known: dict[str, Any]) -> None:
    try:
        known[name] = _value(node, known)
    except _Unknown:
        known.pop(name, None)


def _attachment(
    call: ast.Call, target: str, module: str, known: dict[str, Any]
) -> Iterator[tuple[tuple[str, str], str]]:
    function = ast.unparse(call.func)
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if function.endswith("add_newdoc_for_scalar_type") or len(arguments) < 2:
        return
    if "newdoc" in function:
        yield from _newdoc(arguments, module, known)
        return
    try:
        text = _value(arguments[1], known)
    except _Unknown:
        return
    if function.endswith("add_docstr_all"):
        place = ("torch._tensor", f"Tensor.{_constant(arguments[0])}")
    elif target:
        place = (module, target)
    else:
        place = _home(ast.unparse(arguments[0]))
    if isinstance(text, str) and place[1]:
        yield place, text


def _home(expression: str) -> tuple[str, str]:
    """`torch.Tensor.abs` and `torch.abs` as (module, qualname); an empty qualname for private C names."""
    if "torch._C" in expression or not expression.startswith("torch."):
        return "torch", ""
    for prefix, (module, qualname) in _HOMES.items():
        if expression.startswith(prefix + "."):
            return module, qualname + expression[len(prefix) :]
    parts = expression.split(".")
    return (
        ("torch", ".".join(parts[1:]))
        if len(parts) < 4 and parts[1][:1].isupper()
        else (
            ".".join(parts[:-1]),
            parts[-1],
        )
    )


def _newdoc(arguments: list[ast.expr], module: str, known: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """`add_newdoc(place, object, doc | (attribute, doc) | [(attribute, doc), …])`, or SciPy's `add_newdoc(name, doc)`."""
    if len(arguments) == 2:
        name, texts = _constant(arguments[0]), [("", arguments[1])]
        place = module.rpartition(".")[0]
    else:
        place, name = _constant(arguments[0]), _constant(arguments[1])
        document = arguments[2]
        pairs = document.elts if isinstance(document, ast.List) else [document]
        texts = [
            (_constant(pair.elts[0]), pair.elts[1])
            if isinstance(pair, ast.Tuple) and len(pair.elts) == 2
            else ("", pair)
            for pair in pairs
        ]
    for attribute, node in texts:
        try:
            text = _value(node, known)
        except _Unknown:
            continue
        if isinstance(text, str) and name and place:
            yield (place, f"{name}.{attribute}" if attribute else name), text


def _constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    """The string, or the dictionary of strings, that an expression of constants stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, known), _value(node.right, known)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        return {_constant(key): _value(value, known) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Call):
        return _called(node, known)
    raise _Unknown


def _called(node: ast.Call, known: dict[str, Any]) -> Any:
    if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _formatted(node, node.func.value, known)
    name = ast.unparse(node.func).rpartition(".")[2]
    arguments = [_value(argument, known) for argument in node.args]
    if name == "dedent" and len(arguments) == 1:
        return arguments[0]
    if name == "parse_kwargs" and len(arguments) == 1:
        sections = [section.strip() for section in re.split(r"\n\s{4}(?!\s)", arguments[0])]
        return {section.split(" ")[0]: section for section in sections if section}
    if name == "merge_dicts":
        return {key: value for dictionary in arguments for key, value in dictionary.items()}
    raise _Unknown


def _formatted(node: ast.Call, template_node: ast.expr, known: dict[str, Any]) -> str:
    template = _value(template_node, known)
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        value = _value(keyword.value, known)
        values.update({keyword.arg: value} if keyword.arg else value)
    positional = [_value(argument, known) for argument in node.args]
    try:
        return str(template.format(*positional, **values))
    except (KeyError, IndexError, ValueError, AttributeError):
        raise _Unknown from None
