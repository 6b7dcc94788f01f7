"""API keys: where they come from, and whether a request has one."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from octavo.config import ServerConfig
from octavo.errors import ConfigError

__all__ = ["has_key", "with_api_keys"]

_VARIABLE = "OCTAVO_API_KEY"


def with_api_keys(config: ServerConfig, environment: Mapping[str, str]) -> ServerConfig:
    """Return `config` with all keys in `api_key`: those of the flags, of the file (one a line, # begins a comment) and of the environment.

    Raises:
        ConfigError: a key is empty, or the file cannot be read or has none.
    """
    keys = [*config.api_key]
    if config.api_key_file is not None:
        keys += _of_file(config.api_key_file)
    if _VARIABLE in environment:
        keys.append(environment[_VARIABLE])
    if not all(key.strip() for key in keys):
        raise ConfigError(f"an API key (--api-key or {_VARIABLE}) is empty: anybody could use the server; give a key, or leave it out")
    return replace(config, api_key=tuple(keys), api_key_file=None)


def _of_file(name: str) -> list[str]:
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--api-key-file {name} cannot be read: {error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"--api-key-file {name} has no key; write one a line")
    return keys


def has_key(headers: Mapping[str, str], keys: Sequence[str]) -> bool:
    """Whether a request with these headers has one of `keys`: as a bearer token, or as the password of basic authentication.

    The second lets a browser ask a person for the key. Schemes are case-insensitive (RFC 9110, section 11.1). Takes the same time for
    every wrong key of one length.
    """
    if "x-api-key" in headers:  # Anthropic's clients
        return _is_one(headers["x-api-key"].encode(errors="surrogateescape"), keys)
    scheme, _, sent = headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            given = sent.strip().encode(errors="surrogateescape")
        case "basic":
            given = _password(sent)
        case _:
            return False
    return _is_one(given, keys)


def _is_one(given: bytes, keys: Sequence[str]) -> bool:
    return sum(hmac.compare_digest(given, key.encode()) for key in keys) > 0  # all are compared


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
