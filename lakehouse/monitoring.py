"""Prometheus's folder of one installation: configuration, whom to ask, and what lets it in."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lakehouse.errors import LakehouseError
from lakehouse.files import write_atomically
from lakehouse.infra import infra_file

CONFIG = "prometheus.yml"
# Prometheus reads its configuration only if these are there, also for components that are not.
SECRETS = ("ca.pem", "minio.token", "trino.password")


class UnknownSecretError(LakehouseError):
    """A secret that the configuration names nowhere."""


def lay_out(
    folder: Path, targets: Mapping[str, Sequence[str]], secrets: Mapping[str, str] | None = None
) -> Path:
    """Write what Prometheus reads into a folder of its own and return the configuration's path.

    A running Prometheus takes up changed targets by itself, and changed rules on SIGHUP.

    Args:
        folder: Made if it is not there; what it holds of an earlier time is replaced.
        targets: Addresses (``host:port``) by job, as ``infra/prometheus/prometheus.yml`` names
            the jobs; a job that is left out asks nobody.
        secrets: Contents of files under ``secrets/``, by name; missing ones are empty.

    Raises:
        UnknownSecretError: A secret has another name.
    """
    secrets = secrets or {}
    if unknown := secrets.keys() - set(SECRETS):
        raise UnknownSecretError(f"{', '.join(sorted(unknown))}: choose from {', '.join(SECRETS)}")
    source = infra_file(f"prometheus/{CONFIG}").parent
    shutil.rmtree(folder / "rules", ignore_errors=True)
    (folder / "rules").mkdir(parents=True)
    shutil.copyfile(source / CONFIG, folder / CONFIG)
    for rules in (source / "rules").glob("*.yml"):
        shutil.copyfile(rules, folder / "rules" / rules.name)
    # A running Prometheus watches this folder: it must stay the same one.
    (folder / "targets").mkdir(exist_ok=True)
    for path in (folder / "targets").glob("*.json"):
        if path.stem not in targets:
            path.unlink()
    for job, addresses in targets.items():
        entry = [{"targets": list(addresses)}]
        write_atomically(folder / "targets" / f"{job}.json", json.dumps(entry))
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    for name in SECRETS:
        path = folder / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(secrets.get(name, ""))
    return folder / CONFIG
