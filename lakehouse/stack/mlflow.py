"""MLflow's tracking server: experiments and models, in PostgreSQL and the object store."""

import base64
import json
from functools import partial
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.infra import infra_file
from lakehouse.settings import Role
from lakehouse.stack import minio, postgresql
from lakehouse.stack.http import tls_context
from lakehouse.stack.installation import REGION, Installation

NAME = "mlflow"
# Of infra/mlflow/basic_auth.ini.
ADMIN_USER = "admin"
# Batch trains, registers and scores; whoever serves loads what is registered, and sees the rest.
USERS: tuple[Role, ...] = ("batch", "serving")
PROBE_SECONDS = 2.0
# To store a password takes long by design.
ASK_SECONDS = 30.0


def component(installation: Installation) -> Component:
    """Return the tracking server of an installation."""
    return Component(
        NAME,
        after=(postgresql.NAME, minio.NAME),
        launch=partial(_launch, installation),
        health=answers(partial(_answers, installation)),
        provision=partial(provision, installation),
        provides="the users",
        # The first start makes some forty tables.
        deadline_seconds=180,
        memory_mib=700,
        certificates=(NAME,),
        secrets=(
            f"{postgresql.NAME}-{NAME}",
            f"{minio.NAME}-{minio.MLFLOW_USER}",
            f"{NAME}-{ADMIN_USER}",
            f"{NAME}-csrf",
        ),
    )


def _launch(installation: Installation) -> Launch:
    port = installation.port(NAME)
    own = installation.certificate(NAME)
    environ = {
        # No argument: those can be read by every user of the machine.
        "PGHOST": installation.host(postgresql.NAME),
        "PGPORT": str(installation.port(postgresql.NAME)),
        "PGUSER": NAME,
        "PGPASSWORD": installation.secret(f"{postgresql.NAME}-{NAME}"),
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(installation.authority.file),
        "MLFLOW_AUTH_CONFIG_PATH": str(infra_file("mlflow/basic_auth.ini")),
        "MLFLOW_AUTH_ADMIN_PASSWORD": installation.secret(f"{NAME}-{ADMIN_USER}"),
        # What the forms of its pages are signed with.
        "MLFLOW_FLASK_SERVER_SECRET_KEY": installation.secret(f"{NAME}-csrf"),
        "MLFLOW_S3_ENDPOINT_URL": f"https://{installation.address(minio.NAME)}",
        "AWS_CA_BUNDLE": str(installation.authority.file),
        "AWS_ACCESS_KEY_ID": minio.MLFLOW_USER,
        "AWS_SECRET_ACCESS_KEY": installation.secret(f"{minio.NAME}-{minio.MLFLOW_USER}"),
        "AWS_DEFAULT_REGION": REGION,
    }
    argv = [str(distribution(installation.settings, NAME) / "bin" / "mlflow")]
    argv += ["--env-file", str(infra_file("mlflow/mlflow.env")), "server"]
    argv += ["--app-name", "basic-auth", "--host", installation.listen_host, "--port", str(port)]
    argv += ["--uvicorn-opts", f"--ssl-certfile {own.certificate} --ssl-keyfile {own.key}"]
    return Launch(argv, environ, port)


def _answers(installation: Installation) -> bool:
    url = f"https://{installation.address(NAME)}/health"
    try:
        with urlopen(url, timeout=PROBE_SECONDS, context=tls_context(installation)):
            return True
    except OSError:
        return False


def provision(installation: Installation) -> None:
    """Make the users that roles speak as, or give them the passwords that the roles have."""
    for user in USERS:
        known = {"username": user, "password": installation.secret(f"{NAME}-{user}")}
        try:
            _ask(installation, "POST", "users/create", known)
        except HTTPError as error:
            # The code first: what a failing server says is no JSON.
            is_known = (
                error.code == HTTPStatus.BAD_REQUEST
                and "ALREADY_EXISTS" in json.load(error)["error_code"]
            )
            if not is_known:
                raise
            _ask(installation, "PATCH", "users/update-password", known)


def _ask(installation: Installation, method: str, what: str, body: dict[str, str]) -> None:
    password = installation.secret(f"{NAME}-{ADMIN_USER}")
    proof = base64.b64encode(f"{ADMIN_USER}:{password}".encode()).decode()
    request = Request(
        f"https://{installation.address(NAME)}/api/2.0/mlflow/{what}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Basic {proof}", "Content-Type": "application/json"},
        method=method,
    )
    context = tls_context(installation)
    urlopen(request, timeout=ASK_SECONDS, context=context).close()  # noqa: S310 - an own address
