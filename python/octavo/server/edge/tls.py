"""TLS: the certificate that the server shows, loaded again when its files change (renewed ones reach new connections at once)."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from octavo.errors import ConfigError
from octavo.log import get_logger

if TYPE_CHECKING:
    from octavo.config import TlsConfig

__all__ = ["Certificates"]

_log = get_logger(__name__)
_EVERY_S = 10.0
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "PEM_LIB": "they do not hold a certificate and a key in PEM form",
    "NO_START_LINE": "there is no certificate in it",
}
_Stamp = tuple[tuple[int, int] | None, ...]


class Certificates:
    """What a TLS server shows and asks of its clients.

    Raises:
        ConfigError: a file cannot be read, is no certificate or key in PEM form, or the two do not belong together.

    Attributes:
        context: for whoever listens; connections that begin after a `reload` get what that has loaded.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self.context = _load(config)
        self._stamp = self._stamps()

    def reload(self) -> None:
        """Load the files again; where they are no longer good, say so in the log and keep what was loaded."""
        self._stamp = self._stamps()
        try:
            _load(self._config)  # into a context of its own first: a bad pair leaves the one that it is loaded into without a key
            _load_into(self.context, self._config)
        except ConfigError as error:
            _log.error("the certificate stays as it was: %s", error)
        else:
            _log.info("the certificate of %s is loaded again", self._config.ssl_certfile)

    async def watch(self, *, every_s: float = _EVERY_S) -> None:
        """Reload whenever a file has changed. Runs until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if self._stamps() != self._stamp:
                self.reload()

    def _stamps(self) -> _Stamp:
        """What tells two states of the files apart; None for a file that is not there, as while it is being replaced."""
        return tuple(map(_stamp, (self._config.ssl_certfile, self._config.ssl_keyfile)))


def _stamp(path: str | None) -> tuple[int, int] | None:
    try:
        found = os.stat(path) if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino) if found else None


def _load(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    _load_into(context, config)
    if config.ssl_ca_certs is not None:
        try:
            context.load_verify_locations(config.ssl_ca_certs)
        except OSError as error:
            raise ConfigError(f"--ssl-ca-certs {config.ssl_ca_certs} cannot be used: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_into(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Load certificate and key; each is opened by itself first, because the library's error names no file."""
    assert config.ssl_certfile is not None
    files = {"--ssl-certfile": config.ssl_certfile, "--ssl-keyfile": config.ssl_keyfile or config.ssl_certfile}
    for flag, path in files.items():
        try:
            with open(path, "rb") as file:
                has = b"-----BEGIN" in file.read()
        except OSError as error:
            raise ConfigError(f"{flag} {path} cannot be read: {error.strerror}") from None
        if not has:
            raise ConfigError(f"{flag} {path} is not in PEM form (-----BEGIN ...)")
    try:
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile, password=_refuse_password)
    except OSError as error:
        shown = " and ".join(dict.fromkeys(f"{flag} {path}" for flag, path in files.items()))
        raise ConfigError(f"{shown} cannot be used: {_reason(error)}") from None


def _refuse_password() -> str:
    """Asked for the password of a key; without this the library would ask at the terminal."""
    raise ConfigError("the key of --ssl-keyfile is encrypted; give one that is not: openssl pkey -in KEY -out PLAIN_KEY")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return _REASONS.get(reason, str(reason).replace("_", " ").lower()) if reason else error.strerror or _REASONS["PEM_LIB"]
