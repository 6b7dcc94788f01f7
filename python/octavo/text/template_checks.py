"""Sizes of what operators and methods would make, checked before they do. Each check raises `SecurityError`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import SecurityError

from octavo.text.template_meter import Meter

__all__ = ["check_field", "check_length", "check_method", "check_operator", "check_percent", "check_replace"]

_MAX_WIDTH = 1000  # of a padded field, and characters to search for or to strip: prompts are not typeset
_TEXT_METHODS = frozenset(
    "capitalize casefold center count decode encode endswith find index isalnum isalpha isascii isdecimal"  # noqa: SIM905
    " isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition"
    " removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip"
    " split splitlines startswith strip swapcase title upper zfill".split()
)
_PADDING = frozenset(("center", "ljust", "rjust", "zfill"))
_SEARCHES = frozenset(("lstrip", "rstrip", "strip", "rfind", "rindex", "rpartition", "rsplit"))  # text x argument steps at worst
_WIDE_FIELD = re.compile(r"\d{4}")
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0-9.]*(?:\*|\d{4})")


def check_operator(meter: Meter, operator: str, left: Any, right: Any) -> None:
    """Check `left operator right`."""
    if operator == "*":
        _check_product(meter, left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        meter.check_bits(left.bit_length() * right)
    elif operator == "+" and _is_sized(left) and _is_sized(right):
        check_length(meter, left, len(left) + len(right))
        if isinstance(left, tuple):  # alone of the sequences it can be a key, and then everything in it is hashed
            meter.weigh((left, right))
    elif operator == "%" and isinstance(left, (str, bytes)):
        check_percent(meter, left, right)


def check_length(meter: Meter, like: Any, length: int) -> None:
    """Check the length of a text or list like the one given."""
    if isinstance(like, (str, bytes)):
        meter.check_chars(length)
    else:
        meter.check_items(length)


def check_percent(meter: Meter, template: str | bytes, values: Any) -> None:
    """Check `template % values`."""
    text = template if isinstance(template, str) else template.decode("latin-1")
    if _WIDE_PERCENT.search(text):
        raise SecurityError(f"it formats a field wider than {_MAX_WIDTH - 1} characters")
    items, chars = meter.weigh(values)
    meter.check_chars(len(text) + text.count("%") * (chars + 4 * items))


def check_field(meter: Meter, value: Any, format_spec: str) -> None:
    """Check one field of `str.format`."""
    if _WIDE_FIELD.search(format_spec):
        raise SecurityError(f"it formats a field wider than {_MAX_WIDTH - 1} characters")
    meter.weigh(value)


def check_replace(meter: Meter, text: str | bytes, old: str | bytes, new: str | bytes) -> None:
    """Check `text.replace(old, new)`."""
    meter.check_chars(len(text) + text.count(old) * len(new))  # type: ignore[arg-type]


def check_method(meter: Meter, method: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check a call of a method of a text, number or list. Anything else passes."""
    owner = getattr(method, "__self__", None)
    if isinstance(owner, (str, bytes)):
        _check_text_method(meter, owner, method.__name__, [*args, *kwargs.values()])
    elif isinstance(owner, (int, float)):
        raise SecurityError(f"it calls {method.__name__} of a number")
    elif isinstance(owner, (list, tuple)):
        meter.weigh(owner)  # `count` and `index` compare what it holds


def _check_text_method(meter: Meter, owner: str | bytes, name: str, args: list[Any]) -> None:
    if name not in _TEXT_METHODS:
        raise SecurityError(f"it calls {name} of a text")
    if name in _PADDING and not all(isinstance(arg, (str, bytes)) or abs(arg) <= _MAX_WIDTH for arg in args):
        raise SecurityError(f"it pads a text to more than {_MAX_WIDTH} characters")
    if name in _SEARCHES and any(isinstance(arg, (str, bytes)) and len(arg) > _MAX_WIDTH for arg in args):
        raise SecurityError(f"it searches for a text of more than {_MAX_WIDTH} characters")
    if name == "replace" and len(args) >= 2:
        check_replace(meter, owner, args[0], args[1])
    elif name == "join" and args:
        if not isinstance(args[0], (list, tuple, str, bytes)):
            raise SecurityError("it joins something else than a list with the method join; the filter can")
        meter.check_chars(meter.weigh(args[0])[1] + len(owner) * len(args[0]))


def _check_product(meter: Meter, left: Any, right: Any) -> None:
    for sequence, factor in ((left, right), (right, left)):
        if _is_sized(sequence) and isinstance(factor, int):
            check_length(meter, sequence, len(sequence) * max(factor, 0))
            return
    if isinstance(left, int) and isinstance(right, int):
        meter.check_bits(left.bit_length() + right.bit_length())


def _is_sized(value: Any) -> bool:
    return isinstance(value, (str, bytes, list, tuple))
