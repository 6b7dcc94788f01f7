"""Clients, told apart by their API keys: what each may use, and how much it has used."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from octavo.config import ServerConfig
from octavo.errors import ConfigError
from octavo.log import get_logger
from octavo.server.edge.api_keys import KeyOptions, given_key, read_keys
from octavo.server.edge.errors import ApiError
from octavo.server.edge.rate_limit import RateLimit

__all__ = ["CLIENT", "Client", "Clients", "admitted", "spend_tokens"]

_log = get_logger(__name__)


class Client:
    """Whoever has one key.

    Attributes:
        name: what logs and metrics call it.
        running: its requests that have not ended.
        num_requests: all that were taken.
        num_tokens: of prompts and answers.
        refused: reason -> requests that were not taken.
    """

    def __init__(self, name: str, options: KeyOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.options = options
        self.running = self.num_requests = self.num_tokens = 0
        self.refused: Counter[str] = Counter()
        self._requests = RateLimit(options.requests_per_minute, clock) if options.requests_per_minute else None
        self._tokens = RateLimit(options.tokens_per_minute, clock) if options.tokens_per_minute else None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while the block runs.

        Raises:
            ApiError: 429, where the client may have none now; Retry-After says when.
        """
        self._check()
        if self._requests is not None:
            self._requests.take(1)
        self.running += 1
        self.num_requests += 1
        try:
            yield
        finally:
            self.running -= 1

    def spend(self, num_tokens: int) -> None:
        """Count tokens of a request that was taken."""
        self.num_tokens += num_tokens
        if self._tokens is not None:
            self._tokens.take(num_tokens)

    def headers(self) -> dict[str, str]:
        """What is left, as OpenAI's clients read it."""
        headers = {}
        for what, limit in (("requests", self._requests), ("tokens", self._tokens)):
            if limit is not None:
                headers[f"X-RateLimit-Limit-{what.capitalize()}"] = str(limit.per_minute)
                headers[f"X-RateLimit-Remaining-{what.capitalize()}"] = str(limit.remaining)
        return headers

    def _check(self) -> None:
        most = self.options.requests
        if most is not None and self.running >= most:
            self._refuse("requests", f"this key has {self.running} requests that run, the most that it may have", 1.0)
        for what, limit in (("requests_per_minute", self._requests), ("tokens_per_minute", self._tokens)):
            if limit is not None and (wait_s := limit.wait_s()) > 0:
                self._refuse(what, f"this key may use {limit.per_minute} {what.replace('_', ' ')}, and has", wait_s)

    def _refuse(self, what: str, message: str, wait_s: float) -> None:
        self.refused[what] += 1
        seconds = math.ceil(wait_s)
        text = f"{message}; try again in {seconds} s"
        raise ApiError(429, text, kind="rate_limit_error", code="rate_limit_exceeded", headers={"Retry-After": str(seconds)})


CLIENT: ContextVar[Client | None] = ContextVar("octavo_client", default=None)
"""Whose request this task, and the tasks that it starts, serve; None: the server has no keys."""


@contextmanager
def admitted() -> Iterator[None]:
    """Count a request of this task's client while the block runs. Raises what `Client.request` raises."""
    client = CLIENT.get()
    if client is None:
        yield
        return
    with client.request():
        yield


def spend_tokens(num_tokens: int) -> None:
    """Count tokens of this task's client."""
    client = CLIENT.get()
    if client is not None:
        client.spend(num_tokens)


class Clients:
    """All that have a key. Those of the file may change while the server runs: what a key has used stays.

    Raises:
        ConfigError: what `read_keys` raises, and limits without a key to count by.
    """

    def __init__(self, config: ServerConfig, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment
        self._of_keys = self._read({})

    def __bool__(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._of_keys)

    def __iter__(self) -> Iterator[Client]:
        return iter({id(client): client for client in self._of_keys.values()}.values())

    def of(self, headers: Mapping[str, str]) -> Client | None:
        """Return whose key a request with these headers has; None: nobody's."""
        key = given_key(headers, self._of_keys)
        return None if key is None else self._of_keys[key]

    def reload(self) -> None:
        """Read the file of keys again; where that fails, say so in the log and keep what was read."""
        try:
            self._of_keys = self._read(self._of_keys)
        except ConfigError as error:
            _log.error("the API keys stay as they were: %s", error)
        else:
            _log.info("%d API keys are in force", len(self._of_keys))

    def _read(self, before: Mapping[str, Client]) -> dict[str, Client]:
        keys = read_keys(self._config, self._environment)
        if not keys and any(self._config.limits.of_a_key()):
            raise ConfigError("--key-requests and its like count by API key, but the server has none; see --api-key-file")
        found: dict[str, Client] = {}
        for key, options in keys.items():
            known = before.get(key)
            same = known is not None and known.options == options
            found[key] = known if known is not None and same else Client(options.name or _name_of(key), options)
        return found


def _name_of(key: str) -> str:
    """A name that says nothing of the key and stays the same."""
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
