"""Python values as text, such as "[(512, 10, 5)] + [(512, 3, 2)] * 4", without running any code."""

import ast
import operator
from typing import Any

from .errors import UserError

LONGEST = 10_000  # characters of a text, elements of a list
DEEPEST = 50
LARGEST = 2**63
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
SIGNS = {ast.UAdd: operator.pos, ast.USub: operator.neg}
CONTAINERS = {ast.List: list, ast.Tuple: tuple, ast.Set: set}


def literal(text: str, *ignored: Any) -> Any:
    """Return the value of a text of numbers, words in quotes, lists, tuples, sets, dicts, and their sums and products.

    It takes the place of Python's `eval` in fairseq's modules, so it also takes `eval`'s further arguments.

    Raises:
        TypeError: not a text, as `eval` has it.
        UserError: anything else than such a value.
    """
    if not isinstance(text, str):
        raise TypeError("literal() takes a text")
    try:
        if len(text) > LONGEST:
            raise ValueError("it is too long")
        return _value(ast.parse(text.strip(), mode="eval").body, DEEPEST)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        raise UserError(
            f"'{shown}' is not a plain value such as [20000, 60000] or (0.9, 0.98), and no code is run ({error})"
        ) from None


def _value(node: ast.AST, depth: int) -> Any:
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(node, ast.Constant):
        return node.value
    if kind := CONTAINERS.get(type(node)):
        return kind(_value(part, depth - 1) for part in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:  # None: **other
        return {_value(k, depth - 1): _value(v, depth - 1) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS:
        return SIGNS[type(node.op)](_value(node.operand, depth - 1))
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        sides = _value(node.left, depth - 1), _value(node.right, depth - 1)
        _check_size(node.op, *sides)
        return OPERATIONS[type(node.op)](*sides)
    raise ValueError(f"{type(node).__name__} in it")


def _check_size(operation: ast.operator, *sides: Any) -> None:
    """Refuse a result that would not fit: the text is short, what it describes need not be."""
    sizes = [len(side) if hasattr(side, "__len__") else abs(side) for side in sides]
    limit = LONGEST if any(hasattr(side, "__len__") for side in sides) else LARGEST
    result = sizes[0] * sizes[1] if isinstance(operation, ast.Mult) else sum(sizes)
    if result > limit:
        raise ValueError("it is too large")
