"""Sampling parameters of other engines whose neutral value asks for nothing: taken, so that a script need not be edited."""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import Any, TypeVar

from octavo.errors import InvalidRequestError

__all__ = ["neutral_values_taken"]

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "detokenize": (True,),
    "extra_args": (None, {}),
    "guided_decoding": (None,),
    "logits_processors": (None, []),
    "output_kind": (None, 0, 2),
    "skip_reading_prefix_cache": (None, False),
    "spaces_between_special_tokens": (True,),
    "structured_outputs": (None,),
    "truncate_prompt_tokens": (None,),
    "use_beam_search": (False,),
}
ClassT = TypeVar("ClassT", bound=type)


def neutral_values_taken(cls: ClassT) -> ClassT:
    """Let a dataclass take, and forget, neutral values of the fields above that it has not; another value is an InvalidRequestError."""
    own = {each.name for each in fields(cls)}
    construct: Any = cls.__init__  # type: ignore[misc]

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        for name in (kwargs.keys() & _NEUTRAL.keys()) - own:
            value = kwargs.pop(name)
            if value not in _NEUTRAL[name]:
                raise InvalidRequestError(f"{name} is {value!r}, but Octavo has no {name}; leave it out", name)
        construct(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[misc]
    return cls
