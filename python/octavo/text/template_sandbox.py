"""The Jinja environment of chat templates: nothing outside can be read or changed, and time and size are bounded.

Jinja's immutable sandbox guards attributes and the variables, not time or memory: `9 ** (9 ** 9)`, nested loops or a text times
3,000,000,000 stop the whole process. Here every loop round, call, filter, test and operator asks the rendering's `Meter` first.
Against Jinja this environment lacks the global `lipsum`, the filters of `_ABSENT` (they pad, wrap or search without a bound, and prompts
do not need them) and those methods of texts and numbers that `template_checks` does not list.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from octavo.text.generation_tag import GenerationTag
from octavo.text.template_checks import check_field, check_method, check_operator
from octavo.text.template_filters import BOUNDED_FILTERS, BOUNDED_GLOBALS
from octavo.text.template_meter import Meter, current_meter, metered

__all__ = ["compile_template"]

_MAX_SOURCE_CHARS = 1 << 20
_ABSENT_FILTERS = ("batch", "center", "pprint", "slice", "striptags", "urlize", "wordwrap", "xmlattr")
# They look at the outside of a value only: what it holds need not be weighed at each of them.
_SHALLOW_FILTERS = frozenset(
    "attr count d default dictsort first float int items last length list map"  # noqa: SIM905
    " random reject rejectattr reverse select selectattr".split()
)
_SHALLOW_TESTS = frozenset(
    "boolean callable defined divisibleby escaped even false filter float integer iterable mapping none"  # noqa: SIM905
    " number odd sameas sequence string test true undefined".split()
)


def compile_template(source: str) -> Template:
    """Compile a template; render it inside `metered(Meter(variables))`.

    Raises:
        jinja2.TemplateSyntaxError: it is not valid, or uses what this environment lacks.
        SecurityError, RecursionError, SyntaxError, MemoryError: it is too long or too deep to be compiled.
    """
    if len(source) > _MAX_SOURCE_CHARS:
        raise SecurityError(f"it has more than {_MAX_SOURCE_CHARS} characters")
    environment = _environment()
    with metered(Meter()):  # constants are folded while it compiles
        tree = _Checks().visit(environment.parse(source))
        return Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


@functools.cache
def _environment() -> _MeteredEnvironment:
    return _MeteredEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag], finalize=_weighed, cache_size=0
    )


class _MeteredEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.globals["lipsum"]
        self.globals.update(BOUNDED_GLOBALS)
        for name in _ABSENT_FILTERS:
            del self.filters[name]
        self.filters.update(BOUNDED_FILTERS)
        self.filters = {name: _metered(call, deep=name not in _SHALLOW_FILTERS) for name, call in self.filters.items()}
        self.filters |= {"octavo_rounds": _rounds, "octavo_weighed": _weighed, "octavo_joined": _joined}
        self.tests = {name: _metered(call, deep=name not in _SHALLOW_TESTS) for name, call in self.tests.items()}  # type: ignore[arg-type]

    @staticmethod
    def concat(parts: Iterable[str]) -> str:  # type: ignore[override]
        """Join what a template, macro or block puts out."""
        taken, num_chars, meter = [], 0, current_meter()
        for part in parts:
            num_chars += len(part)
            meter.check_chars(num_chars)
            taken.append(part)
        return "".join(taken)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        current_meter().tick()
        check_operator(current_meter(), operator, left, right)
        result = self.binop_table[operator](left, right)
        current_meter().count(result)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (keywords may be named self)
        meter = current_meter()
        meter.tick()
        check_method(meter, __obj, args, kwargs)
        if not isinstance(__obj, Macro):
            for value in (*args, *kwargs.values()):
                _weighed(value)
        result = super().call(__context, __obj, *args, **kwargs)
        meter.count(result)
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` through a formatter that checks each field."""
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") not in ("format", "format_map"):
            return None
        if value.__name__ == "format_map":
            return lambda mapping: _Formatter(self).vformat(owner, (), mapping)
        return lambda *args, **kwargs: _Formatter(self).vformat(owner, args, kwargs)


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        current_meter().tick()
        check_field(current_meter(), value, format_spec)
        return super().format_field(value, format_spec)

    def vformat(self, format_string: str, args: Any, kwargs: Any) -> str:
        fields, longest = format_string.count("{"), max((current_meter().weigh(each)[1] for each in (*args, *kwargs.values())), default=0)
        current_meter().check_chars(len(format_string) + fields * longest)
        return super().vformat(format_string, args, kwargs)


class _Checks(NodeTransformer):
    """Puts the meter where Jinja compiles without a hook: loop rounds, comparisons, `~` and literals that hold variables."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (named so by Jinja, as are those below)
        self.generic_visit(node)
        node.iter = _filtered("octavo_rounds", node.iter)  # type: ignore[arg-type]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not any(isinstance(side, nodes.Const) for side in (node.expr, *(operand.expr for operand in node.ops))):
            node.expr = _filtered("octavo_weighed", node.expr)
            for operand in node.ops:
                operand.expr = _filtered("octavo_weighed", operand.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered("octavo_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if all(isinstance(item, nodes.Const) for item in node.items) else _filtered("octavo_weighed", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        return self.visit_List(node) if node.ctx == "load" else node  # type: ignore[arg-type]

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered("octavo_weighed", node)


def _filtered(name: str, node: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _metered(call: Callable[..., Any], *, deep: bool) -> Callable[..., Any]:
    """A filter or test that ticks, whose result is bounded, and, where it looks into values (`deep`), whose arguments are weighed."""
    first = 1 if hasattr(call, "jinja_pass_arg") else 0  # the context, say

    @functools.wraps(call)  # also takes over what Jinja noted on the function
    def metered_call(*args: Any, **kwargs: Any) -> Any:
        meter = current_meter()
        meter.tick()
        values = (*args[first:], *kwargs.values())
        if deep:
            for value in values:
                _weighed(value)
        result = call(*args, **kwargs)
        meter.count(result)
        return result

    return metered_call


def _rounds(items: Iterable[Any]) -> Iterable[Any]:
    """Tick at each item."""
    tick = current_meter().tick
    for item in items:
        tick()
        yield item


def _weighed(value: Any) -> Any:
    """The value itself, where it is not too large when written out in full."""
    if type(value) is not str and not isinstance(value, (int, float)):
        current_meter().weigh(value)
    return value


def _joined(parts: list[Any]) -> str:
    """`a ~ b`."""
    return _MeteredEnvironment.concat([str(_weighed(part)) for part in parts])
