"""Whom TLS believes, and as whom we show ourselves: files that cannot be used are refused by name before anything is asked."""

from __future__ import annotations

import ssl
from pathlib import Path

from rollout.core.errors import Refused


def context_for(
    *, ca_file: Path | None = None, certificate: Path | None = None, key: Path | None = None, verify: bool = True
) -> ssl.SSLContext:
    """Make the context of a backend's connections; without `ca_file` the system's authorities are believed.

    Raises Refused for files that cannot be read or do not belong together.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise Refused(f"caFile {ca_file} {_unusable(error)}") from None
    if certificate is not None:
        shown = f"clientCertificate {certificate}" + (f" with clientKey {key}" if key else "")
        try:
            # An encrypted key would otherwise ask on the terminal for its password, and wait.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise Refused(f"{shown} {_unusable(error)}; both as PEM, the key without a password") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"cannot be used ({(error.reason or 'it is no PEM').lower().replace('_', ' ')})"
    return f"cannot be read ({error.strerror or type(error).__name__})"
