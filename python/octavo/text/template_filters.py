"""Filters and functions of chat templates that differ from Jinja's: bounded in what they make, and those of the transformers library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from jinja2 import Environment, TemplateError, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.filters import do_indent, do_round, do_sum, do_trim, make_attrgetter

from octavo.text.template_checks import check_percent, check_replace
from octavo.text.template_meter import current_meter

__all__ = ["BOUNDED_FILTERS", "BOUNDED_GLOBALS"]

_MAX_INDENT = 16
_MAX_DATE_FORMAT = 1000
_MAX_DIGITS = 100


def _tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Jinja's own filter escapes HTML characters, which a prompt must not."""
    _check_short("indent", indent)
    for separator in separators or ():
        _check_short("separators", separator)
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None:
        return encoder.encode(value)  # a few times what was weighed at most
    pieces, num_chars = [], 0
    for piece in encoder.iterencode(value):
        num_chars += len(piece)
        current_meter().check_chars(num_chars)
        pieces.append(piece)
    return "".join(pieces)


def _indent(text: str, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    _check_short("indent", width)
    return do_indent(text, width, first, blank)


@pass_environment
def _join(environment: Environment, items: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    meter = current_meter()
    each = items if attribute is None else map(make_attrgetter(environment, attribute), items)
    taken = meter.take(each)
    meter.weigh(taken)
    texts = [str(item) for item in taken]
    meter.check_chars(sum(map(len, texts)) + len(str(d)) * len(texts))
    return str(d).join(texts)


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    check_replace(current_meter(), str(text), old, new)
    return str(text).replace(old, new, -1 if count is None else count)


def _format(template: Any, *args: Any, **kwargs: Any) -> str:
    check_percent(current_meter(), str(template), kwargs or args)
    return str(template) % (kwargs or args)


@pass_environment
def _sum(environment: Environment, items: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise SecurityError("the filter sum adds numbers only")
    return do_sum(environment, items, attribute, start)  # type: ignore[arg-type]


def _trim(text: str, chars: str | None = None) -> str:
    if chars is not None and len(chars) > _MAX_DATE_FORMAT:
        raise SecurityError(f"it trims more than {_MAX_DATE_FORMAT} characters")
    return do_trim(text, chars)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > _MAX_DIGITS:
        raise SecurityError(f"it rounds to more than {_MAX_DIGITS} digits")
    return do_round(value, precision, method)


def _check_short(what: str, indent: Any) -> None:
    """An indentation or separator is a number of blanks or a text."""
    if indent is not None and (indent if isinstance(indent, int) else len(indent)) > _MAX_INDENT:
        raise SecurityError(f"{what} of more than {_MAX_INDENT} characters")


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(date_format: str) -> str:
    return datetime.now().strftime(date_format[:_MAX_DATE_FORMAT])


BOUNDED_FILTERS: dict[str, Callable[..., Any]] = {
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "sum": _sum,
    "tojson": _tojson,
    "trim": _trim,
}
BOUNDED_GLOBALS: dict[str, Callable[..., Any]] = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
