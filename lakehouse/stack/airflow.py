"""Airflow: an API server with the UI, a scheduler, a processor of DAG files, a triggerer."""

import base64
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname, urlopen

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.files import write_secretly
from lakehouse.infra import dags_folder, infra_file
from lakehouse.stack import kept, postgresql, prometheus
from lakehouse.stack.http import tls_context
from lakehouse.stack.installation import Installation

NAME = "airflow"
API = "airflow-api"
# By the name of the component: Airflow's command, and what its health page calls it.
OTHERS = {
    "airflow-scheduler": ("scheduler", "scheduler"),
    "airflow-dags": ("dag-processor", "dag_processor"),
    "airflow-triggerer": ("triggerer", "triggerer"),
}
USERS = ("admin", "viewer")
PASSWORDS_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
# Tasks run in the scheduler's container. One that submits a job has a process of Airflow's, our
# command and Spark's client; what is submitted is waited for elsewhere.
TASKS_AT_ONCE = 3
TASK_MIB = 360
# The triggerer's with a watch of the drop folder, and a verb that waits for the lander.
MEMORY_MIB = {
    API: 500,
    "airflow-scheduler": 240 + TASKS_AT_ONCE * TASK_MIB,
    "airflow-dags": 350,
    "airflow-triggerer": 600,
}
PROBE_SECONDS = 2.0
# A task waits for it when it begins and when it ends.
LINEAGE_SECONDS = 2.0
SECRETS = (
    f"{postgresql.NAME}-{NAME}",
    *(f"{NAME}-{use}" for use in ("fernet", "jwt", "session", *USERS)),
)


def components(installation: Installation) -> list[Component]:
    """Return the processes of an installation's Airflow."""
    api = Component(
        API,
        after=(postgresql.NAME,),
        launch=partial(_launch_api, installation),
        health=answers(partial(_is_healthy, installation, "metadatabase")),
        # The first start makes its tables.
        deadline_seconds=240,
        memory_mib=MEMORY_MIB[API],
        certificates=(API,),
        secrets=SECRETS,
    )
    others = [
        Component(
            name,
            after=(API,),
            launch=partial(_launch_kept, installation, role),
            health=answers(partial(_is_healthy, installation, known_as)),
            deadline_seconds=180,
            memory_mib=MEMORY_MIB[name],
            certificates=(API,),
            secrets=SECRETS,
        )
        for name, (role, known_as) in OTHERS.items()
    ]
    return [api, *others]


def command(installation: Installation, words: Sequence[str]) -> Launch:
    """Return how Airflow's own command is run on an installation: ``dags list``."""
    program = distribution(installation.settings, NAME) / "bin" / "airflow"
    return Launch([str(program), *words], _environ(installation))


def _launch_api(installation: Installation) -> Launch:
    port = installation.port(API)
    program = distribution(installation.settings, NAME) / "bin" / "airflow"
    serve = f"--host {installation.listen_host} --port {port}"
    pools = infra_file("airflow/pools.json")
    # The tables are made, or brought up to date, by the one that all others wait for.
    prepare = f'"{program}" db migrate && "{program}" pools import "{pools}"'
    script = f'{prepare} && exec "{program}" api-server {serve}'
    environ = _environ(installation)
    users = {user: installation.secret(f"{NAME}-{user}") for user in USERS}
    # It alone asks who somebody is.
    write_secretly(Path(environ[PASSWORDS_FILE]), json.dumps(users).encode())
    return Launch(["/bin/sh", "-c", script], environ, port)


def _launch_kept(installation: Installation, role: str) -> Launch:
    """Return how a process is started that ends when the database is away, and must come back."""
    one = command(installation, [role])
    return Launch([sys.executable, "-m", kept.__name__, *one.argv], one.environ)


def _environ(installation: Installation) -> dict[str, str]:
    own, home = installation.certificate(API), installation.home / NAME
    folder = dags_folder()
    home.mkdir(parents=True, exist_ok=True)
    user = f"{NAME}:{quote(installation.secret(f'{postgresql.NAME}-{NAME}'), safe='')}"
    database = f"{user}@{installation.address(postgresql.NAME)}/{NAME}"
    authority, address = str(installation.authority.file), f"https://{installation.address(API)}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(infra_file("airflow/airflow.cfg")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__PARALLELISM": str(TASKS_AT_ONCE),
        "AIRFLOW__CORE__FERNET_KEY": _fernet_key(installation.secret(f"{NAME}-fernet")),
        PASSWORDS_FILE: str(home / "passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": (
            f"postgresql+psycopg2://{database}?sslmode=verify-full&sslrootcert={authority}"
        ),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": (
            f"postgresql+asyncpg://{database}?ssl=verify-full"
        ),
        "PGSSLROOTCERT": authority,
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__SECRET_KEY": installation.secret(f"{NAME}-session"),
        "AIRFLOW__API__SSL_CERT": str(own.certificate),
        "AIRFLOW__API__SSL_KEY": str(own.key),
        "AIRFLOW__API__SSL_CA_FILE": authority,
        "AIRFLOW__API_AUTH__JWT_SECRET": installation.secret(f"{NAME}-jwt"),
        # Operators and triggers must be found by every process, DAGs by one alone.
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
        # What tasks reach the platform by. Behind all else: its Python is not Airflow's.
        "PATH": f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}",
        "LAKEHOUSE_HOME": str(installation.home.absolute()),
        # One executor a job: two jobs, of this hour and of past ones, share a small cluster.
        "LAKEHOUSE_SPARK_EXECUTORS": "1",
        "LAKEHOUSE_ALERTMANAGER": f"http://{installation.address(prometheus.ALERTMANAGER)}",
        **_hours(installation, home),
        **_lineage(installation),
        **_traces(installation),
    }


def _lineage(installation: Installation) -> dict[str, str]:
    """Return where the lineage of tasks goes: where that of the jobs goes which they submit."""
    if (address := installation.openlineage_url) is None:
        return {}
    transport: dict[str, object] = {"type": "http", "url": address, "timeout": LINEAGE_SECONDS}
    if address.startswith("file:"):
        folder = Path(url2pathname(urlsplit(address).path))
        folder.mkdir(parents=True, exist_ok=True)
        file = str(folder / f"{NAME}.jsonl")
        transport = {"type": "file", "log_file_path": file, "append": True}
    return {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)}


def _traces(installation: Installation) -> dict[str, str]:
    """Return where traces go: where those of our own processes go, if anywhere."""
    if (endpoint := installation.settings.otlp_endpoint) is None:
        return {}
    return {
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_SERVICE_NAME": NAME,
    }


def _hours(installation: Installation, home: Path) -> dict[str, str]:
    """Return the hours that are processed by schedule; the first start here sets the first."""
    file, settings = home / "first-hour", installation.settings
    if not file.exists():
        first = settings.first_hour or datetime.now(UTC)
        file.write_text(first.replace(minute=0, second=0, microsecond=0).isoformat())
    hours = {"LAKEHOUSE_FIRST_HOUR": file.read_text().strip()}
    if settings.last_hour:
        hours["LAKEHOUSE_LAST_HOUR"] = settings.last_hour.isoformat()
    return hours


def _fernet_key(secret: str) -> str:
    """Return a Fernet key of a secret of 32 characters: so many bytes, for URLs in base 64."""
    return base64.urlsafe_b64encode(secret.encode()).decode()


def _is_healthy(installation: Installation, part: str) -> bool:
    url = f"https://{installation.address(API)}/api/v2/monitor/health"
    try:
        with urlopen(url, timeout=PROBE_SECONDS, context=tls_context(installation)) as page:
            return bool(json.load(page)[part]["status"] == "healthy")
    except (OSError, KeyError):
        return False
