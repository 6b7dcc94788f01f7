"""API keys: where they come from, what each may use, and whose key a request has."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from octavo.config import ServerConfig
from octavo.errors import ConfigError

__all__ = ["KeyOptions", "given_key", "read_keys"]

_VARIABLE = "OCTAVO_API_KEY"


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What stands behind a key in its file, or else the flags that are for every key. None: no limit.

    Attributes:
        name: what logs and metrics call its owner; "": none was given.
        requests: most that run at once.
        requests_per_minute: on average; as many at once after a minute's rest.
        tokens_per_minute: of prompts and answers together.
    """

    name: str = ""
    requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def read_keys(config: ServerConfig, environment: Mapping[str, str]) -> dict[str, KeyOptions]:
    """Return every key with its options: those of the flags, of the environment, and of the file.

    A line of the file is a key, behind it `name=alice requests=4 requests-per-minute=60 tokens-per-minute=100000`, all of them optional;
    what is left out is as `--key-requests` and its like say. `#` begins a comment line.

    Raises:
        ConfigError: a key is empty, or the file cannot be read, has no key or an option that is not known.
    """
    default = KeyOptions("", *config.limits.of_a_key())
    keys = [*config.api_key]
    if _VARIABLE in environment:
        keys.append(environment[_VARIABLE])
    if not all(key.strip() for key in keys):
        raise ConfigError(f"an API key (--api-key or {_VARIABLE}) is empty: anybody could use the server; give a key, or leave it out")
    return dict.fromkeys(keys, default) | ({} if config.api_key_file is None else _of_file(config.api_key_file, default))


def _of_file(name: str, default: KeyOptions) -> dict[str, KeyOptions]:
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--api-key-file {name} cannot be read: {error}") from None
    keys = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not line.startswith("#"):
            keys[words[0]] = _options(f"--api-key-file {name}, line {number}", words[1:], default)
    if not keys:
        raise ConfigError(f"--api-key-file {name} has no key; write one a line")
    return keys


def _options(where: str, texts: list[str], default: KeyOptions) -> KeyOptions:
    known = [each.name for each in fields(KeyOptions)]
    given: dict[str, str | int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name not in known or not value:
            options = ", ".join(f"{each.replace('_', '-')}=" for each in known)
            raise ConfigError(f"{where}: {text[:40]!r} is none of {options}")
        if name == "name":
            given[name] = value
        elif value.isdecimal() and int(value):
            given[name] = int(value)
        else:
            raise ConfigError(f"{where}: {name.replace('_', '-')} is {value[:40]!r}; it must be a whole number of at least 1")
    return replace(default, **given)  # type: ignore[arg-type]


def given_key(headers: Mapping[str, str], keys: Iterable[str]) -> str | None:
    """Return which of `keys` a request with these headers has: as a bearer token, or as the password of basic authentication.

    The second lets a browser ask a person for the key. Schemes are case-insensitive (RFC 9110, section 11.1). Takes the same time for
    every wrong key of one length.
    """
    if "x-api-key" in headers:  # Anthropic's clients
        return _find(headers["x-api-key"].encode(errors="surrogateescape"), keys)
    scheme, _, sent = headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            given = sent.strip().encode(errors="surrogateescape")
        case "basic":
            given = _password(sent)
        case _:
            return None
    return _find(given, keys)


def _find(given: bytes, keys: Iterable[str]) -> str | None:
    found = [key for key in keys if hmac.compare_digest(given, key.encode())]  # all are compared
    return found[0] if found else None


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
