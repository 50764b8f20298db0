"""BACKWARD compatibility of Avro schemas: whether the new version can read old data.

The rules are those of "Schema Resolution" in the Avro 1.11 specification, for the kinds of types
that our topics use: records, unions, primitives, and logical types on them. Other kinds are
refused unless they are equal, so that a new kind is thought about before it is used.
"""

from typing import Any

# Avro's promotions: data written as the key may be read as any of the values.
PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
LOGICAL_ATTRIBUTES = ("logicalType", "precision", "scale")
PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


def backward_problems(writer: Any, reader: Any, path: str = "") -> list[str]:
    """Return why data of schema ``writer`` cannot be read with ``reader``; empty if it can.

    Args:
        writer: The older schema, as parsed JSON.
        reader: The newer schema, as parsed JSON.
        path: Name of the field that holds the schemas, for the messages.
    """
    if isinstance(writer, list) or isinstance(reader, list):
        return _union_problems(_branches(writer), _branches(reader), path)
    if _kind(writer) == _kind(reader) == "record":
        return _record_problems(writer, reader, path)
    if _kind(writer) in PRIMITIVES and _kind(reader) in PRIMITIVES:
        return _primitive_problems(writer, reader, path)
    return [] if writer == reader else [f"{path}: {_text(writer)} cannot become {_text(reader)}"]


def _record_problems(writer: dict[str, Any], reader: dict[str, Any], path: str) -> list[str]:
    if _full_name(writer) != _full_name(reader):
        return [f"{path or 'record'}: {_full_name(writer)} cannot become {_full_name(reader)}"]
    written = {field["name"]: field for field in writer["fields"]}
    problems = []
    for field in reader["fields"]:
        where = f"{path}.{field['name']}" if path else field["name"]
        names = [name for name in (field["name"], *field.get("aliases", ())) if name in written]
        if len(names) > 1:
            problems.append(f"{where}: old data has both {' and '.join(names)}")
        elif names:
            old = written[names[0]]
            problems += backward_problems(old["type"], field["type"], where)
            # Else the field of a yet older version would be read as if it were not there.
            if lost := set(old.get("aliases", ())) - {field["name"], *field.get("aliases", ())}:
                problems.append(f"{where}: the alias {', '.join(sorted(lost))} is missing")
        elif "default" not in field:
            problems.append(f"{where}: a new field needs a default, old data does not have it")
    return problems


def _union_problems(writer: list[Any], reader: list[Any], path: str) -> list[str]:
    return [
        f"{path}: old data may be {_text(branch)}, which {_text(reader)} cannot hold"
        for branch in writer
        if all(backward_problems(branch, candidate, path) for candidate in reader)
    ]


def _primitive_problems(writer: Any, reader: Any, path: str) -> list[str]:
    kinds_fit = _kind(writer) == _kind(reader) or _kind(reader) in PROMOTIONS.get(
        _kind(writer), set()
    )
    if kinds_fit and _logical(writer) == _logical(reader):
        return []
    return [f"{path}: {_text(writer)} cannot become {_text(reader)}"]


def _kind(schema: Any) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _branches(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _logical(schema: Any) -> tuple[Any, ...]:
    stated = schema if isinstance(schema, dict) else {}
    return tuple(stated.get(name) for name in LOGICAL_ATTRIBUTES)


def _full_name(schema: dict[str, Any]) -> str:
    return ".".join(filter(None, (schema.get("namespace"), schema["name"])))


def _text(schema: Any) -> str:
    if isinstance(schema, list):
        return "[" + ", ".join(_text(branch) for branch in schema) + "]"
    logical = [str(part) for part in _logical(schema) if part is not None]
    return _kind(schema) + (f" ({' '.join(logical)})" if logical else "")
