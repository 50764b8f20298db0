"""Prometheus and Alertmanager, with whom to ask and how to be let in."""

from functools import partial
from urllib.request import urlopen

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.infra import infra_file
from lakehouse.monitoring import lay_out
from lakehouse.stack import api, kafka, minio, postgresql, registry, spark, trino
from lakehouse.stack.installation import Installation

NAME = "prometheus"
ALERTMANAGER = "alertmanager"
PROBE_SECONDS = 1.0
# Two weeks of a laptop's history; a team that wants years sends them on.
RETENTION = "15d"
PROMETHEUS_SECRETS = (f"{minio.NAME}-{minio.ROOT_USER}", f"{trino.NAME}-monitor")
TARGETS = {
    "lander": ("land-metrics",),
    "speed": ("speed-metrics",),
    "live": ("live-metrics",),
    "api": (api.NAME,),
    "metrics": ("metrics-metrics",),
    "commands": ("commands-metrics",),
    "kafka": (f"{kafka.NAME}-metrics",),
    "minio": (minio.NAME,),
    "trino": (trino.NAME,),
    "postgresql": (postgresql.EXPORTER,),
    "spark": tuple(f"{name}-web" for name in (spark.MASTER, *spark.WORKERS)),
    "registry": (f"{registry.NAME}-management",),
    "prometheus": (NAME,),
    "alertmanager": (ALERTMANAGER,),
}
"""By job of infra/prometheus/prometheus.yml, where each of its targets listens."""
IN_CONTAINERS = {"jaeger": ["jaeger:8888"], "loki": ["loki:3100"]}
"""Likewise, of services of docker-compose.yml that are no components of ours."""


def components(installation: Installation) -> list[Component]:
    """Return Prometheus and Alertmanager of an installation."""
    return [
        Component(
            name,
            after=after,
            launch=partial(launch, installation),
            health=answers(partial(_answers, installation, name)),
            memory_mib=memory_mib,
            secrets=secrets,
        )
        for name, after, launch, memory_mib, secrets in (
            (ALERTMANAGER, (), _alertmanager, 100, ()),
            (NAME, (ALERTMANAGER,), _prometheus, 300, PROMETHEUS_SECRETS),
        )
    ]


def _prometheus(installation: Installation) -> Launch:
    home = distribution(installation.settings, NAME)
    folder = installation.home / NAME
    targets = {job: [installation.address(use) for use in uses] for job, uses in TARGETS.items()}
    if installation.in_containers:
        targets |= IN_CONTAINERS
    secrets = {
        "ca.pem": installation.authority.file.read_text(),
        "minio.token": minio.metrics_token(installation),
        "trino.password": installation.secret("trino-monitor"),
    }
    configuration = lay_out(folder, targets, secrets)
    argv = [str(home / "bin" / NAME), f"--config.file={configuration}"]
    argv += [f"--storage.tsdb.path={folder / 'data'}", f"--storage.tsdb.retention.time={RETENTION}"]
    argv += [f"--web.listen-address={installation.listen_address(NAME)}"]
    assets = home / "share" / NAME / "web"
    if assets.is_dir():  # Debian keeps the pages apart
        argv += [f"--web.local-assets={assets}"]
    return Launch(argv, port=installation.port(NAME))


def _alertmanager(installation: Installation) -> Launch:
    home = distribution(installation.settings, ALERTMANAGER)
    folder = installation.home / ALERTMANAGER
    folder.mkdir(parents=True, exist_ok=True)
    argv = [str(home / "bin" / ALERTMANAGER)]
    argv += [f"--config.file={infra_file('alertmanager/alertmanager.yml')}"]
    argv += [f"--storage.path={folder / 'data'}", "--cluster.listen-address="]
    argv += [f"--web.listen-address={installation.listen_address(ALERTMANAGER)}"]
    return Launch(argv, port=installation.port(ALERTMANAGER))


def _answers(installation: Installation, name: str) -> bool:
    try:
        with urlopen(f"http://{installation.address(name)}/-/ready", timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False
