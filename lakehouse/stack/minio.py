"""MinIO: the object store that the tables are in."""

import base64
import hashlib
import time
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import urllib3
from joserfc import jwt
from joserfc.jwk import OctKey
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import StaticProvider
from minio.lifecycleconfig import LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.files import write_secretly
from lakehouse.infra import infra_file
from lakehouse.stack.http import tls_context
from lakehouse.stack.installation import BUCKET, ROLES, Installation

NAME = "minio"
ROOT_USER = "root"
MODELS_BUCKET = "models"
MLFLOW_USER = "mlflow"
# Long enough to notice and take back a wrong deletion. A table that commits every second leaves
# thousands of replaced metadata files a day, so not longer.
DELETED_KEPT_DAYS = 3
PROBE_SECONDS = 1.0


def component(installation: Installation) -> Component:
    """Return the object store of an installation."""
    return Component(
        NAME,
        launch=partial(_launch, installation),
        health=answers(partial(_answers, installation)),
        provision=partial(_provision, installation),
        provides="buckets, users and policies",
        memory_mib=700,
        certificates=(NAME,),
        secrets=tuple(f"{NAME}-{user}" for user in (ROOT_USER, "encryption", MLFLOW_USER, *ROLES)),
    )


def client(installation: Installation) -> Minio:
    """Return the administrator's client."""
    return Minio(
        endpoint=installation.address(NAME),
        access_key=ROOT_USER,
        secret_key=installation.secret(f"{NAME}-{ROOT_USER}"),
        http_client=_http(installation),
    )


def metrics_token(installation: Installation) -> str:
    """Return a token with which metrics can be read, and nothing else."""
    claims = {"sub": ROOT_USER, "iss": "prometheus", "exp": int(time.time()) + 365 * 24 * 3600}
    key = OctKey.import_key(installation.secret(f"{NAME}-{ROOT_USER}"))
    return jwt.encode({"alg": "HS512"}, claims, key, algorithms=["HS512"])


def _launch(installation: Installation) -> Launch:
    binary = distribution(installation.settings, NAME) / "bin" / "minio"
    folder = installation.home / NAME
    certificates = _certificates(installation, folder / "certs")
    key = hashlib.sha256(installation.secret(f"{NAME}-encryption").encode()).digest()
    environ = {
        "MINIO_CONFIG_ENV_FILE": str(infra_file("minio/minio.env")),
        "MINIO_ROOT_USER": ROOT_USER,
        "MINIO_ROOT_PASSWORD": installation.secret(f"{NAME}-{ROOT_USER}"),
        "MINIO_KMS_SECRET_KEY": f"lake:{base64.b64encode(key).decode()}",
        # Its collector lets the heap double first; on a laptop that memory is somebody else's.
        "GOMEMLIMIT": "600MiB",
    }
    argv = [
        str(binary),
        "server",
        str(folder / "data"),
        "--address",
        installation.listen_address(NAME),
    ]
    argv += ["--certs-dir", str(certificates), "--quiet"]
    return Launch(argv, environ, installation.port(NAME))


def _certificates(installation: Installation, folder: Path) -> Path:
    """Lay the certificate out as MinIO expects it."""
    (folder / "CAs").mkdir(parents=True, exist_ok=True)
    own = installation.certificate(NAME)
    (folder / "public.crt").write_bytes(own.certificate.read_bytes())
    write_secretly(folder / "private.key", own.key.read_bytes())
    (folder / "CAs" / "ca.crt").write_bytes(installation.authority.file.read_bytes())
    return folder


def _answers(installation: Installation) -> bool:
    url = f"https://{installation.address(NAME)}/minio/health/ready"
    try:
        with urlopen(url, timeout=PROBE_SECONDS, context=tls_context(installation)) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (URLError, OSError):
        return False


def _provision(installation: Installation) -> None:
    store = client(installation)
    for bucket in (BUCKET, MODELS_BUCKET):
        if not store.bucket_exists(bucket_name=bucket):
            store.make_bucket(bucket_name=bucket)
        store.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
        expiry = NoncurrentVersionExpiration(noncurrent_days=DELETED_KEPT_DAYS)
        rule = Rule(
            status=ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id="forget-deleted",
            noncurrent_version_expiration=expiry,
        )
        store.set_bucket_lifecycle(bucket_name=bucket, config=LifecycleConfig([rule]))
    admin = MinioAdmin(
        endpoint=installation.address(NAME),
        credentials=StaticProvider(ROOT_USER, installation.secret(f"{NAME}-{ROOT_USER}")),
        http_client=_http(installation),
    )
    for user in (*ROLES, MLFLOW_USER):
        policy = infra_file(f"minio/policies/{user}.json")
        admin.policy_add(policy_name=f"lakehouse-{user}", policy_file=str(policy))
        admin.user_add(access_key=user, secret_key=installation.secret(f"{NAME}-{user}"))
        admin.policy_set(policy_name=f"lakehouse-{user}", user=user)


def _http(installation: Installation) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        cert_reqs="CERT_REQUIRED", ca_certs=str(installation.authority.file), retries=3
    )
