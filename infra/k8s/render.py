"""The stack for Kubernetes: docker-compose.yml told as manifests.

    python -m infra.k8s.render [--profile observability] [--registry REGISTRY] | kubectl apply -f -

The compose file says what runs: images, commands, volumes, limits, networks, and which files of
infra/ are mounted. Here is only what a cluster calls it. README.md beside this says what to do
first, and what is another matter on a cluster.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from lakehouse.infra import CHECKOUT
from lakehouse.stack.installation import PORTS, USES

Manifest = dict[str, Any]

# The user of our images; official images bring their own.
USER = 10001
OURS = "lakehouse/"
# Made of one installation's files, before anything else.
INSTALLATION = ("tls", "secrets", "roles")
# Volumes are as large as the class of storage lets them grow to; a start.
STORAGE = "20Gi"
# What a cluster does in its own way: an installation is made beforehand, nodes ship the logs.
LEFT_OUT = {"init", "logs"}


def render(
    compose: Manifest, *, profiles: Iterable[str] = ("core",), registry: str = ""
) -> Iterator[Manifest]:
    """Yield the manifests of the services of some profiles.

    Args:
        compose: The parsed compose file.
        profiles: Which of its profiles are wanted.
        registry: Put before the names of our own images, such as ``registry.example.org/team/``.
    """
    wanted = set(profiles)
    services = {
        name: service
        for name, service in compose["services"].items()
        if wanted & {*service["profiles"]} and name not in LEFT_OUT
    }
    for network in compose["networks"]:
        yield _network(network)
    shared = {source for service in services.values() for source, _ in _shared(service)}
    for source in sorted(shared):
        claim = _claim("ReadWriteMany")
        yield _manifest("v1", "PersistentVolumeClaim", source, spec=claim)
    for name, service in services.items():
        yield from _files(name, service)
        yield from _workload(name, service, registry)


def _network(name: str) -> Manifest:
    """Let those who are in a layer's network be reached by one another, and by nobody else."""
    members = {"matchLabels": {_label(name): "true"}}
    return _manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        spec={
            "podSelector": members,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": members}]}],
        },
    )


def _files(name: str, service: Manifest) -> Iterator[Manifest]:
    """Yield the files of infra/ that a service is given as they are."""
    for number, (source, _) in enumerate(_mounted_files(service)):
        data = {_key(source, path): path.read_text() for path in _contents(source)}
        yield _manifest("v1", "ConfigMap", f"{name}-{number}", data=data)


def _workload(name: str, service: Manifest, registry: str) -> Iterator[Manifest]:
    labels = {"app": name} | {_label(network): "true" for network in service.get("networks", [])}
    pod = {"metadata": {"labels": labels}, "spec": _pod(name, service, registry)}
    if service["restart"] == "no":
        yield _manifest("batch/v1", "Job", name, spec={"backoffLimit": 20, "template": pod})
        return
    # Its name leads straight to it, whatever port is asked for; so it can bind to it, too.
    ports = [{"name": _port_name(number), "port": number} for number in _ports(name, service)]
    yield _manifest(
        "v1",
        "Service",
        name,
        spec={
            "clusterIP": "None",
            # Servers are asked for things, such as their topics, before they are ready.
            "publishNotReadyAddresses": True,
            "selector": {"app": name},
            **({"ports": ports} if ports else {}),
        },
    )
    claims = [
        {"metadata": {"name": source}, "spec": _claim("ReadWriteOnce")}
        for source, _ in _claims(service)
    ]
    yield _manifest(
        "apps/v1",
        "StatefulSet",
        name,
        spec={
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": pod,
            **({"volumeClaimTemplates": claims} if claims else {}),
        },
    )


def _claim(access: str) -> Manifest:
    return {"accessModes": [access], "resources": {"requests": {"storage": STORAGE}}}


def _pod(name: str, service: Manifest, registry: str) -> Manifest:
    ours = service["image"].startswith(OURS)
    limits = service["deploy"]["resources"]["limits"]
    volumes, mounts = _volumes(name, service)
    container: Manifest = {
        "name": name,
        "image": (registry if ours else "") + service["image"],
        "env": _environment(service),
        "resources": {
            "requests": {"memory": _quantity(limits["memory"])},
            "limits": {"cpu": limits["cpus"], "memory": _quantity(limits["memory"])},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": service["read_only"],
            "capabilities": {"drop": service["cap_drop"]},
        },
        "volumeMounts": mounts,
    }
    if "entrypoint" in service:
        container["command"] = service["entrypoint"]
    if "command" in service:
        container["args"] = service["command"]
    if "healthcheck" in service:
        container |= _probes(service["healthcheck"])
    spec: Manifest = {
        "automountServiceAccountToken": False,
        # Its variables of services would be taken for settings.
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": volumes,
        "restartPolicy": "OnFailure" if service["restart"] == "no" else "Always",
    }
    if ours:
        spec["securityContext"] = {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER}
    if "stop_grace_period" in service:
        spec["terminationGracePeriodSeconds"] = _seconds(service["stop_grace_period"])
    return spec


def _environment(service: Manifest) -> list[Manifest]:
    given = {
        variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for variable, value in service.get("environment", {}).items()
        if value is not None  # compose passes it on where it is set
    }
    variables: list[Manifest] = [{"name": name, "value": value} for name, value in given.items()]
    if service["image"].startswith(OURS):
        # Executors reach a driver by its address: a pod's name is known by its service alone.
        address = {"fieldRef": {"fieldPath": "status.podIP"}}
        variables.append({"name": "LAKEHOUSE_SPARK_DRIVER_HOST", "valueFrom": address})
    return variables


def _probes(healthcheck: Manifest) -> Manifest:
    kind, *command = healthcheck["test"]
    if kind != "CMD":
        raise ValueError(f"a health check of kind {kind}")
    every, patience = _seconds(healthcheck["interval"]), _seconds(healthcheck["start_period"])
    probe = {
        "exec": {"command": command},
        "periodSeconds": every,
        "timeoutSeconds": _seconds(healthcheck["timeout"]),
    }
    return {
        "startupProbe": probe | {"failureThreshold": patience // every},
        "readinessProbe": probe,
        "livenessProbe": probe | {"failureThreshold": healthcheck["retries"]},
    }


def _volumes(name: str, service: Manifest) -> tuple[list[Manifest], list[Manifest]]:
    """Return a pod's volumes, but for those that it claims, and its container's mounts."""
    pairs = [*_temporary(service), *_installation(service), *_configuration(name, service)]
    for source, target in _shared(service):
        claim = {"name": source, "persistentVolumeClaim": {"claimName": source}}
        pairs.append((claim, _mount(source, target)))
    claimed = [_mount(source, target) for source, target in _claims(service)]
    return [volume for volume, _ in pairs], [*(mount for _, mount in pairs), *claimed]


def _temporary(service: Manifest) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield what goes with the container: memory, and an unnamed volume."""
    for number, option in enumerate(service.get("tmpfs", [])):
        name, path = f"tmp-{number}", str(option).partition(":")[0]
        yield {"name": name, "emptyDir": {"medium": "Memory"}}, _mount(name, path)
    if "shm_size" in service:
        size = {"medium": "Memory", "sizeLimit": _quantity(service["shm_size"])}
        yield {"name": "shm", "emptyDir": size}, _mount("shm", "/dev/shm")  # noqa: S108
    for volume in service.get("volumes", []):
        if isinstance(volume, dict) and "source" not in volume:
            yield {"name": "scratch", "emptyDir": {}}, _mount("scratch", volume["target"])


def _installation(service: Manifest) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield the installation's authority, secrets and roles, where a service has them."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict) and (source := volume.get("source")) in INSTALLATION:
            secret = {"secretName": source, "defaultMode": 0o440}
            mount = _mount(source, volume["target"], readOnly=True)
            yield {"name": source, "secret": secret}, mount


def _configuration(name: str, service: Manifest) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield the files of infra/ that a service is given as they are."""
    for number, (source, target) in enumerate(_mounted_files(service)):
        items = [
            {"key": _key(source, path), "path": str(path.relative_to(_root(source)))}
            for path in _contents(source)
        ]
        config = {"name": f"{name}-{number}", "items": items}
        mount = _mount(f"files-{number}", target, readOnly=True)
        if source.is_file():
            mount["subPath"] = source.name
        yield {"name": f"files-{number}", "configMap": config}, mount


def _mount(volume: str, path: str, **more: object) -> Manifest:
    return {"name": volume, "mountPath": path} | more


def _shared(service: Manifest) -> list[tuple[str, str]]:
    """Return the volumes that several services write, and where they are mounted."""
    named = [volume for volume in service.get("volumes", []) if isinstance(volume, dict)]
    return [
        (source, volume["target"])
        for volume in named
        if (source := volume.get("source")) and source not in INSTALLATION
    ]


def _claims(service: Manifest) -> list[tuple[str, str]]:
    """Return the volumes of a service's own, and where they are mounted."""
    named = [volume for volume in service.get("volumes", []) if isinstance(volume, str)]
    pairs = [volume.split(":")[:2] for volume in named if not volume.startswith((".", "$"))]
    return [(source, target) for source, target in pairs]


def _mounted_files(service: Manifest) -> list[tuple[Path, str]]:
    """Return the files and folders of the checkout that a service is given, and where."""
    named = [volume for volume in service.get("volumes", []) if isinstance(volume, str)]
    pairs = [volume.split(":")[:2] for volume in named if volume.startswith("./")]
    return [(CHECKOUT / source, target) for source, target in pairs]


def _contents(source: Path) -> list[Path]:
    found = [source] if source.is_file() else sorted(source.rglob("*"))
    return [path for path in found if path.is_file()]


def _root(source: Path) -> Path:
    return source.parent if source.is_file() else source


def _key(source: Path, path: Path) -> str:
    """Return the name of a file in its map, where no name may have a slash."""
    return str(path.relative_to(_root(source))).replace("/", "..")


def _ports(name: str, service: Manifest) -> list[int]:
    """Return the ports of a component, and those that an official image is known to have."""
    own = [PORTS[use] for use in (name, *(f"{name}{use}" for use in USES)) if use in PORTS]
    published = [int(str(port).rpartition(":")[2]) for port in service.get("ports", [])]
    return sorted({*own, *published})


def _port_name(number: int) -> str:
    return f"port-{number}"


def _label(network: str) -> str:
    return f"lakehouse/{network}"


def _quantity(size: str) -> str:
    """Return a size of compose as Kubernetes writes it: ``464m`` is ``464Mi``."""
    return f"{size[:-1]}{size[-1].upper()}i"


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def _manifest(version: str, kind: str, name: str, **content: Any) -> Manifest:
    labels = {"app.kubernetes.io/part-of": "lakehouse"}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata} | content


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice: aliases are hard to read."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def main(
    profile: Annotated[
        list[str] | None,
        typer.Option(help="core, orchestration, ml or observability; repeatable."),
    ] = None,
    registry: Annotated[str, typer.Option(help="Put before the names of our own images.")] = "",
) -> None:
    """Print the manifests."""
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    manifests = render(compose, profiles=profile or ["core"], registry=registry)
    typer.echo(yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False), nl=False)


if __name__ == "__main__":
    typer.run(main)
