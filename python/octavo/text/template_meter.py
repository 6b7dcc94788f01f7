"""What one rendering of a chat template may cost: processor time, and the size of any value that it makes.

A template comes with a model, so it may be hostile. `template_sandbox` calls `tick` before every loop round, call, filter, test and
operator, and asks about the size of a value before it is made: what lies between two ticks is then one operation on values of bounded
size, and a rendering ends soon after its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

__all__ = ["Meter", "current_meter", "metered"]

_CPU_SECONDS = 1.0
_TICKS_BETWEEN_CLOCKS = 64
_FREE_CHARS = 1 << 20
_FREE_ITEMS = 100_000
_TOTAL_CHARS, _TOTAL_ITEMS = 64 * _FREE_CHARS, 16 * _FREE_ITEMS  # made in one rendering: anything made may be kept
_INT_BITS = 4096


class Meter:
    """Bounds of one rendering.

    Args:
        variables: what the template is rendered with; long inputs may become long outputs.

    Every method raises `SecurityError` where a bound is passed.
    """

    def __init__(self, variables: Any = ()) -> None:
        self._ticks = 0
        self._deadline = time.thread_time() + _CPU_SECONDS
        self._max_chars, self._max_items = _FREE_CHARS, _FREE_ITEMS
        items, chars = _weigh(variables, None, None)
        self._max_chars += 8 * chars
        self._max_items += 2 * items
        self._chars_left = _TOTAL_CHARS + 32 * chars
        self._items_left = _TOTAL_ITEMS + 32 * items

    def tick(self) -> None:
        """Count one operation; the clock is read at some of them."""
        self._ticks += 1
        if self._ticks % _TICKS_BETWEEN_CLOCKS == 0 and time.thread_time() > self._deadline:
            raise SecurityError(f"it runs for more than {_CPU_SECONDS:g} s")

    def check_chars(self, num_chars: int) -> None:
        """Refuse a text of so many characters, before it is made."""
        if num_chars > self._max_chars:
            raise SecurityError(f"it makes a text of more than {self._max_chars} characters")

    def check_items(self, num_items: int) -> None:
        """Refuse a list of so many items, before it is made."""
        if num_items > self._max_items:
            raise SecurityError(f"it makes a list of more than {self._max_items} items")

    def check_bits(self, num_bits: float) -> None:
        """Refuse a whole number of so many bits, before it is computed."""
        if num_bits > _INT_BITS:
            raise SecurityError(f"it computes a number of more than {_INT_BITS} bits")

    def count(self, made: Any) -> None:
        """Count a value that was made: texts and lists have a size, and all that a rendering makes is bounded, too."""
        if isinstance(made, (str, bytes)):
            self.check_chars(len(made))
            self._chars_left -= len(made)
        elif isinstance(made, (list, tuple)):
            self.check_items(len(made))
            self._items_left -= len(made)
        if self._chars_left < 0 or self._items_left < 0:
            raise SecurityError("it makes too many large values")

    def weigh(self, value: Any) -> tuple[int, int]:
        """Return (items, characters) of a value written out in full, where a list held twice counts twice.

        A template can build a list of two references to a list of two references ...: small in memory, endless when printed.
        """
        return _weigh(value, self._max_items, self._max_chars)

    def take(self, items: Iterable[Any]) -> list[Any]:
        """Return the items of any iterable, a generator included, as a list."""
        taken = []
        for item in items:
            self.tick()
            taken.append(item)
            self.check_items(len(taken))
        return taken


def _weigh(value: Any, max_items: int | None, max_chars: int | None) -> tuple[int, int]:
    items, chars, stack = 0, 0, [value]
    while stack:
        each = stack.pop()
        items += 1
        if isinstance(each, str):
            chars += len(each)
        elif isinstance(each, dict):
            stack += each.keys()
            stack += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            stack += each
        elif isinstance(each, Namespace):
            raise SecurityError("a namespace is no value")
        if max_items is not None and items + len(stack) > max_items:
            raise SecurityError(f"it makes a value of more than {max_items} items")
        if max_chars is not None and chars > max_chars:
            raise SecurityError(f"it makes a text of more than {max_chars} characters")
    return items, chars


_CURRENT: ContextVar[Meter] = ContextVar("octavo_template_meter")


def current_meter() -> Meter:
    """The meter of the rendering that runs in this thread or task."""
    return _CURRENT.get()


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Let `meter` bound what is rendered or compiled inside."""
    token = _CURRENT.set(meter)
    try:
        yield
    finally:
        _CURRENT.reset(token)
