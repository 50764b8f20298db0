"""The REST API as others reach it: over TLS, with the rights of the role ``serving``."""

from collections.abc import Mapping
from functools import partial
from urllib.request import urlopen

from lakehouse import embedded
from lakehouse.components import Component, Launch, answers
from lakehouse.stack.http import tls_context
from lakehouse.stack.installation import Installation

NAME = embedded.API


def component(installation: Installation, environ: Mapping[str, str]) -> Component:
    """Return the API of an installation.

    Args:
        installation: The home.
        environ: Variables of its process, beside those of this one.
    """
    return Component(
        NAME,
        # Later on it goes without Trino by what it has kept, and by the live tier's rows.
        after=("views",),
        launch=partial(_launch, installation, environ),
        health=answers(partial(_answers, installation)),
        deadline_seconds=embedded.LAYER_DEADLINE_SECONDS,
        memory_mib=400,
        certificates=(NAME,),
    )


def _launch(installation: Installation, environ: Mapping[str, str]) -> Launch:
    port = installation.port(NAME)
    certificate = str(installation.certificate(NAME).both)
    argv = embedded.verb(NAME, "serve", "--host", installation.listen_host, "--port", str(port))
    variables = {"LAKEHOUSE_HOME": str(installation.home), **environ}
    return Launch([*argv, "--certificate", certificate], variables, port)


def _answers(installation: Installation) -> bool:
    address = f"https://{installation.address(NAME)}/health/ready"
    context = tls_context(installation)
    try:
        with urlopen(address, timeout=embedded.PROBE_SECONDS, context=context):
            return True
    except OSError:
        return False
