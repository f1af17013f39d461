"""Arithmetic on bands, as users of a map write it: ``(B08 - B04) / (B08 + B04)``. Pure.

Nothing else can be said: no attribute, no index, no call but of a few functions.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.errors import UsageError

Floats = npt.NDArray[np.float64]
_LONGEST = 400
_PARTS = 100
_LARGEST = 10**308
_DOTTED = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.([1-9]\d*)(?![\w.])", re.ASCII)
"""A band of an asset with several, such as ``image.4``."""
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "abs": (np.abs, 1),
    "sqrt": (np.sqrt, 1),
    "log": (np.log, 1),
    "exp": (np.exp, 1),
    "minimum": (np.minimum, 2),
    "maximum": (np.maximum, 2),
}


def parsed(text: str) -> ast.expr:
    """An expression, every part of which is allowed. Raises UsageError."""
    if len(text) > _LONGEST:
        raise UsageError(f"the expression is longer than {_LONGEST} characters")
    dotted: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        dotted[f"{match[1]}_band_{match[2]}"] = match[0]
        return f"{match[1]}_band_{match[2]}"

    try:
        tree = ast.parse(_DOTTED.sub(plain, text.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"{text!r} is no arithmetic") from None
    parts = list(ast.walk(tree))
    if len(parts) > _PARTS:
        raise UsageError(f"the expression has more than {_PARTS} parts")
    _check(tree)
    for node in parts:
        if isinstance(node, ast.Name):
            node.id = dotted.get(node.id, node.id)
    return tree


def names(tree: ast.expr) -> tuple[str, ...]:
    """The bands that an expression names, in their order, each once."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called
    ]
    return tuple(dict.fromkeys(found))


def value(tree: ast.expr, bands: Mapping[str, Floats]) -> Floats:
    """The values; where they aren't finite, there is nothing to show."""
    with np.errstate(all="ignore"):
        return np.asarray(_value(tree, bands), np.float64)


def _check(node: ast.expr) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if abs(number) > _LARGEST:
                raise UsageError("an expression's numbers are at most 1e308")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left)
            _check(right)
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in _UNARY:
            _check(inner)
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if (
            name in _FUNCTIONS and len(given) == _FUNCTIONS[name][1]
        ):
            for one in given:
                _check(one)
        case _:
            known = ", ".join(_FUNCTIONS)
            raise UsageError(f"an expression has bands, numbers, + - * / ** and {known} only")


def _value(node: ast.expr, bands: Mapping[str, Floats]) -> Any:
    match node:
        case ast.Name(id=name):
            return bands[name]
        case ast.Constant(value=number):
            return np.float64(number)  # type: ignore[arg-type]  # checked; and ints don't grow
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, bands), _value(right, bands))
        case ast.UnaryOp(op=sign, operand=inner):
            return _UNARY[type(sign)](_value(inner, bands))
        case ast.Call(func=ast.Name(id=name), args=given):
            return _FUNCTIONS[name][0](*(_value(one, bands) for one in given))
    raise AssertionError("checked before")  # pragma: no cover
