"""Asking this installation's servers over HTTPS, trusting its own authority only."""

import ssl

from lakehouse.stack.installation import Installation


def tls_context(installation: Installation) -> ssl.SSLContext:
    """Return a context that accepts this installation's servers and no others."""
    return ssl.create_default_context(cafile=str(installation.authority.file))
