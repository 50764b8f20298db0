"""What a contract says of the topic whose events are landed in its table."""

from schemas.contract import EVENT_TIME, SchemaVersion, StatementError, Topic

TOPIC_KEYS = {"name", "key", "subject", "versions", "eventTime"}
# An id is four bytes on the wire, which Java reads as a signed number.
MAX_SCHEMA_ID = 2**31 - 1


def log_topic(stated: object, where: str) -> Topic:
    """Return the topic that a custom property states.

    Args:
        stated: Its value.
        where: Location of the property, for the error.

    Raises:
        StatementError: It is no mapping, has an unknown key, or lacks what a topic needs.
    """
    if not isinstance(stated, dict):
        raise StatementError(where, "must be a mapping")
    for key in stated.keys() - TOPIC_KEYS:
        raise StatementError(f"{where}.{key}", "is not a key of a topic")
    name, subject = stated.get("name"), stated.get("subject")
    versions = tuple(
        _version(version, f"{where}.versions[{number}]")
        for number, version in enumerate(stated.get("versions", []))
    )
    if bool(versions) != bool(subject):
        raise StatementError(f"{where}.subject", "goes with versions: both or neither")
    if not isinstance(name, str) or not name.strip():
        raise StatementError(f"{where}.name", "must be stated")
    return Topic(
        name=name.strip(),
        key=stated.get("key"),
        subject=subject,
        versions=versions,
        event_time=str(stated.get("eventTime", EVENT_TIME)),
    )


def _version(stated: object, where: str) -> SchemaVersion:
    if not isinstance(stated, dict) or stated.keys() != {"id", "file"}:
        raise StatementError(where, "must hold id and file")
    if not isinstance(stated["id"], int) or not 0 < stated["id"] <= MAX_SCHEMA_ID:
        raise StatementError(f"{where}.id", "must be a positive integer")
    return SchemaVersion(stated["id"], str(stated["file"]))
