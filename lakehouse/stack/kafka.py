"""Kafka as others reach it: TLS, a user for each role, and rules for what each may do."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from lakehouse.artifacts import cached_jars
from lakehouse.broker import (
    HEAP,
    START_DEADLINE_SECONDS,
    data_folder,
    format_storage,
    write_configuration,
)
from lakehouse.components import Component, Launch, answers
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.kafka import (
    DEAD_LETTERS_TOPIC,
    ERASURES_TOPIC,
    EVENT_TOPICS,
    GROUP_PREFIX,
    LIVE_TOPICS,
    REQUEST_SECONDS,
    broker_answers,
    ensure_topics,
)
from lakehouse.settings import Role
from lakehouse.stack.installation import ROLES, Installation

NAME = "kafka"
# RFC 7677's recommendation for passwords that people choose; ours are random.
SCRAM_ITERATIONS = 4096
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
TOPICS = (*EVENT_TOPICS, DEAD_LETTERS_TOPIC)
GRANTS: Mapping[Role, Mapping[str, tuple[AclOperation, ...]]] = {
    "ingest": dict.fromkeys((*TOPICS, ERASURES_TOPIC), (READ, WRITE)),
    "speed": dict.fromkeys(EVENT_TOPICS, (READ,)),
    "orchestration": dict.fromkeys(TOPICS, (DESCRIBE,)),
    # The exporter tells how far the tables are behind the log, and since when; the live tier tells
    # rows, which whoever answers readers follows.
    "serving": dict.fromkeys(TOPICS, (READ,)) | dict.fromkeys(LIVE_TOPICS, (READ, WRITE)),
}
"""By role, what it may do with each topic; roles that are not named have no business there."""
_ANY: Any = None  # what the client takes for names, and its types do not tell
ANY_RULE = AclBindingFilter(
    ResourceType.ANY,
    _ANY,
    ResourcePatternType.ANY,
    _ANY,
    _ANY,
    AclOperation.ANY,
    AclPermissionType.ANY,
)


def component(installation: Installation) -> Component:
    """Return the broker of an installation."""
    return Component(
        NAME,
        launch=partial(_launch, installation),
        health=answers(lambda: broker_answers(operator_client(installation))),
        provision=partial(_provision, installation),
        provides="topics, users and their rights",
        deadline_seconds=START_DEADLINE_SECONDS,
        memory_mib=900,
        certificates=(NAME, "operator"),
        secrets=tuple(f"{NAME}-{role}" for role in ROLES),
    )


def _launch(installation: Installation) -> Launch:
    settings = installation.settings
    java = str(find_java().executable)
    class_path = os.pathsep.join(str(jar) for jar in cached_jars(settings, "kafka"))
    own = installation.certificate(NAME)
    uses = {"CLIENTS": NAME, "INTERNAL": f"{NAME}-internal", "CONTROLLER": f"{NAME}-controller"}
    listeners = [f"{name}://{installation.listen_address(use)}" for name, use in uses.items()]
    advertised = [f"{name}://{installation.address(use)}" for name, use in uses.items()]
    configuration = write_configuration(
        settings,
        ["kafka/server.properties", "kafka/security.properties"],
        {
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(advertised[:2]),  # nobody asks the controller
            "controller.quorum.voters": f"1@{installation.address(uses['CONTROLLER'])}",
            "log.dirs": str(data_folder(settings)),
            "ssl.keystore.location": str(own.both),
            "ssl.truststore.location": str(installation.authority.file),
        },
    )
    environ = {"CLASSPATH": class_path}
    if not (data_folder(settings) / "meta.properties").exists():
        format_storage(java, environ, configuration)
    logging = f"-Dlog4j2.configurationFile={infra_file('kafka/log4j2.yaml')}"
    (agent,) = cached_jars(settings, "jmx")
    metrics = f"-javaagent:{agent}={installation.listen_address(f'{NAME}-metrics')}:"
    argv = [java, f"-Xms{HEAP}", f"-Xmx{HEAP}", f"{metrics}{infra_file('kafka/jmx.yaml')}"]
    argv += [logging, "kafka.Kafka", str(configuration)]
    return Launch(argv, environ, installation.port(NAME))


def operator_client(installation: Installation) -> dict[str, str]:
    """Return the client settings of whoever makes the users: a certificate instead of a user."""
    own = installation.certificate("operator")
    return {
        "bootstrap.servers": installation.address(f"{NAME}-internal"),
        "security.protocol": "SSL",
        "ssl.ca.location": str(installation.authority.file),
        "ssl.certificate.location": str(own.certificate),
        "ssl.key.location": str(own.key),
    }


def _provision(installation: Installation) -> None:
    admin = AdminClient({**operator_client(installation), "log_level": 0})
    credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(
            role, credentials, installation.secret(f"{NAME}-{role}").encode()
        )
        for role in ROLES
    ]
    for made in admin.alter_user_scram_credentials(users, request_timeout=REQUEST_SECONDS).values():
        made.result()
    _allow_only(admin, _rules())
    ensure_topics(installation.settings)


def _allow_only(admin: AdminClient, rules: Sequence[AclBinding]) -> None:
    """Make rules, and delete all others: what was granted once must not outlive its grant."""
    for made in admin.create_acls(list(rules), request_timeout=REQUEST_SECONDS).values():
        made.result()
    found = admin.describe_acls(ANY_RULE, request_timeout=REQUEST_SECONDS).result()
    if others := [_exactly(rule) for rule in found if rule not in rules]:
        for gone in admin.delete_acls(others, request_timeout=REQUEST_SECONDS).values():
            gone.result()


def _rules() -> list[AclBinding]:
    rules = []
    for role, topics in GRANTS.items():
        for topic, operations in topics.items():
            rules += [
                _allow(role, ResourceType.TOPIC, topic, operation) for operation in operations
            ]
        # No offset is stored under a group, yet every consumer names one.
        rules.append(
            _allow(role, ResourceType.GROUP, GROUP_PREFIX, READ, ResourcePatternType.PREFIXED)
        )
    return rules


def _allow(
    role: str,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{role}", "*", operation, AclPermissionType.ALLOW)


def _exactly(rule: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        rule.restype,
        rule.name,
        rule.resource_pattern_type,
        rule.principal,
        rule.host,
        rule.operation,
        rule.permission_type,
    )
