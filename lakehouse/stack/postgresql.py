"""PostgreSQL: the Iceberg catalog, and the stores of the registry, Airflow and MLflow.

Beside it, the exporter that tells Prometheus how it is.
"""

import os
import shutil
import subprocess
from contextlib import closing
from functools import partial
from urllib.request import urlopen

import psycopg2
from psycopg2 import sql

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.stack.installation import Installation

NAME = "postgresql"
EXPORTER = "postgresql-exporter"
SUPERUSER = "postgres"
# A database for each, with a user of the same name who owns it.
CATALOG = "iceberg"
STORES = (CATALOG, "registry", "airflow", "mlflow")
# May read statistics and nothing else.
MONITOR = "monitor"
CONNECT_SECONDS = 2
# PostgreSQL refuses to run as root. In a user namespace of its own, root is nobody to it.
NOBODY = "65534"


class PostgresqlError(LakehouseError):
    """The database server could not be prepared."""


def components(installation: Installation) -> list[Component]:
    """Return the database server of an installation, and its exporter."""
    return [
        Component(
            NAME,
            launch=partial(_launch, installation),
            health=answers(partial(_answers, installation)),
            provision=partial(_provision, installation),
            provides="databases and their users",
            memory_mib=400,
            certificates=(NAME,),
            secrets=tuple(f"{NAME}-{user}" for user in (SUPERUSER, MONITOR, *STORES)),
        ),
        Component(
            EXPORTER,
            after=(NAME,),
            launch=partial(_launch_exporter, installation),
            health=answers(partial(_exporter_answers, installation)),
            memory_mib=30,
            secrets=(f"{NAME}-{MONITOR}",),
        ),
    ]


def connect(
    installation: Installation, database: str = SUPERUSER
) -> "psycopg2.extensions.connection":
    """Return a connection of the administrator.

    Raises:
        psycopg2.OperationalError: The server does not answer.
    """
    return psycopg2.connect(
        host=installation.host(NAME),
        port=installation.port(NAME),
        dbname=database,
        user=SUPERUSER,
        password=installation.secret(f"{NAME}-{SUPERUSER}"),
        sslmode="verify-full",
        sslrootcert=str(installation.authority.file),
        connect_timeout=CONNECT_SECONDS,
    )


def _launch(installation: Installation) -> Launch:
    binaries = distribution(installation.settings, NAME) / "bin"
    data = installation.home / NAME / "data"
    if not (data / "PG_VERSION").exists():
        _make_cluster(installation, str(binaries / "initdb"))
    port = installation.port(NAME)
    certificate = installation.certificate(NAME)
    own = {
        "config_file": infra_file("postgresql/postgresql.conf"),
        "hba_file": infra_file("postgresql/pg_hba.conf"),
        "ident_file": data / "pg_ident.conf",
        "data_directory": data,
        "listen_addresses": installation.listen_host,
        "port": port,
        "ssl_cert_file": certificate.certificate,
        "ssl_key_file": certificate.key,
    }
    options = [word for name, value in own.items() for word in ("-c", f"{name}={value}")]
    return Launch([*_unprivileged(), str(binaries / "postgres"), *options], port=port)


def _make_cluster(installation: Installation, initdb: str) -> None:
    installation.secret(f"{NAME}-{SUPERUSER}")
    data = installation.home / NAME / "data"
    shutil.rmtree(data, ignore_errors=True)  # of a start that was cut short
    data.parent.mkdir(parents=True, exist_ok=True)
    password = installation.home / "secrets" / f"{NAME}-{SUPERUSER}"
    argv = [initdb, "-D", str(data), "-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8"]
    argv += ["--no-locale", "--data-checksums", "--pwfile", str(password)]
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own tool
        [*_unprivileged(), *argv], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PostgresqlError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]


def _answers(installation: Installation) -> bool:
    try:
        connect(installation).close()
    except psycopg2.OperationalError:
        return False
    return True


def _launch_exporter(installation: Installation) -> Launch:
    binaries = distribution(installation.settings, EXPORTER) / "bin"
    verified = f"sslmode=verify-full&sslrootcert={installation.authority.file}"
    argv = [str(binaries / "prometheus-postgres-exporter")]
    argv += [f"@{infra_file('postgresql-exporter/flags')}"]
    argv += [f"--web.listen-address={installation.listen_address(EXPORTER)}"]
    return Launch(
        argv,
        environ={
            "DATA_SOURCE_URI": f"{installation.address(NAME)}/{SUPERUSER}?{verified}",
            "DATA_SOURCE_USER": MONITOR,
            "DATA_SOURCE_PASS": installation.secret(f"{NAME}-{MONITOR}"),
        },
        port=installation.port(EXPORTER),
    )


def _exporter_answers(installation: Installation) -> bool:
    try:
        with urlopen(f"http://{installation.address(EXPORTER)}/", timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _provision(installation: Installation) -> None:
    with closing(connect(installation)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for user in (*STORES, MONITOR):
                cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [user])
                verb = "ALTER" if cursor.rowcount else "CREATE"
                statement = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}")
                secret = installation.secret(f"{NAME}-{user}")
                cursor.execute(statement.format(sql.Identifier(user), sql.Literal(secret)))
            for store in STORES:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", [store])
                if not cursor.rowcount:
                    owned = sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(store))
                    cursor.execute(owned)
                # Everybody may connect to any database unless told otherwise.
                closed = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
                cursor.execute(closed.format(sql.Identifier(store)))
            cursor.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(MONITOR)))
