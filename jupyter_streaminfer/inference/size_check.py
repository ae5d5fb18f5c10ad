"""The sizes in an archive's graph: texts that torch gives to sympy, which evaluates them as Python."""

from __future__ import annotations

import ast
import re

from jupyter_streaminfer.inference.checkpoint import refuse

MAX_CHARACTERS = 8192
MAX_POWERS = 4
MAX_EXPONENT = 8
MAX_INTEGER = 2**63
_SYMBOL = re.compile(r"z?[a-z]{1,3}[0-9]{1,6}")
_ASSUMPTIONS = {"positive", "integer", "nonnegative", "negative", "real", "finite", "nonzero"}
_NAMES = {"true", "false", "oo", "int_oo"}
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
_FUNCTIONS = {
    *_POWERS,
    *("Symbol", "Integer", "Rational", "Add", "Mul", "Mod", "PythonMod", "Max", "Min", "floor", "ceiling"),
    *("FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "ModularIndexing", "Where", "Identity"),
    *("CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "ToFloat"),
    *("Eq", "Ne", "Le", "Lt", "Ge", "Gt", "Equality", "Unequality", "And", "Or", "Not"),
    *("StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
}
_OPERATORS = ast.BinOp | ast.UnaryOp | ast.Compare | ast.operator | ast.unaryop | ast.cmpop | ast.Expression | ast.Load


def checked_size(text: str) -> str:
    """The expression, where it is plain arithmetic of numbers and symbols; `StreaminferError` otherwise."""
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"longer than {MAX_CHARACTERS} characters")
        _Checker().check(ast.parse(text, mode="eval"))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise refuse(f"the archive's graph has a size that is no plain arithmetic: {text!r:.80} ({error})") from None
    return text


class _Checker:
    def __init__(self) -> None:
        self._powers = 0

    def check(self, node: ast.AST) -> None:
        """Raise `ValueError` for anything that is not in the lists above."""
        if isinstance(node, ast.Call):
            self._call(node)
            return
        if isinstance(node, ast.Name):
            if node.id not in _NAMES and _SYMBOL.fullmatch(node.id) is None:
                raise ValueError(f"{node.id} is no symbol")
        elif isinstance(node, ast.Constant):
            if type(node.value) not in (int, float, bool) or not abs(node.value) <= MAX_INTEGER:  # type: ignore[arg-type]
                raise ValueError("a constant is no number, or too large a one")
        elif not isinstance(node, _OPERATORS):
            raise ValueError(f"{type(node).__name__} is not allowed")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            self._power(node.right)
        elif isinstance(node, ast.LShift | ast.RShift):
            raise ValueError("shifts are not allowed")
        for child in ast.iter_child_nodes(node):
            self.check(child)

    def _call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
            raise ValueError("a function that is not known is called")
        if node.func.id == "Symbol":
            self._symbol(node)
            return
        if node.keywords:
            raise ValueError("keywords are not allowed")
        if node.func.id in _POWERS:
            self._power(node.args[-1] if node.args else node)
        for each in node.args:
            self.check(each)

    def _symbol(self, node: ast.Call) -> None:
        names = [each.value if isinstance(each, ast.Constant) else None for each in node.args]
        if len(names) != 1 or not isinstance(names[0], str) or _SYMBOL.fullmatch(names[0]) is None:
            raise ValueError("a symbol's name is none")
        for each in node.keywords:
            if (
                each.arg not in _ASSUMPTIONS
                or not isinstance(each.value, ast.Constant)
                or type(each.value.value) is not bool
            ):
                raise ValueError("a symbol's assumptions are none")

    def _power(self, exponent: ast.AST) -> None:
        """Count a power, whose exponent must be a small number: powers of powers take a machine's memory."""
        self._powers += 1
        if isinstance(exponent, ast.Call) and len(exponent.args) == 1:
            exponent = exponent.args[0]
        if isinstance(exponent, ast.UnaryOp):
            exponent = exponent.operand
        small = isinstance(exponent, ast.Constant) and type(exponent.value) is int and exponent.value <= MAX_EXPONENT
        if self._powers > MAX_POWERS or not small:
            raise ValueError("its powers are too large")
