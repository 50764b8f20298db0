"""The Iceberg types and partition transforms that a contract may use."""

import re

from pydantic import TypeAdapter, ValidationError
from pyiceberg.exceptions import ValidationError as IcebergValidationError
from pyiceberg.transforms import Transform
from pyiceberg.transforms import parse_transform as parse_iceberg_transform
from pyiceberg.types import IcebergType, MapType

# Physical type (its first word) -> the standard's logical type. Timestamps without a zone and
# floats of 32 bits are left out on purpose: time is UTC here, and sums are exact.
LOGICAL_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "long": "integer",
    "double": "number",
    "decimal": "number",
    "date": "date",
    "timestamptz": "timestamp",
    "string": "string",
    "binary": "string",
    "map": "map",
}
MAP = re.compile(r"map<\s*(\w+)\s*,\s*(\w+)\s*>")
TRANSFORM = re.compile(r"identity|year|month|day|hour|(bucket|truncate)\[[1-9]\d*\]")
_PRIMITIVE: TypeAdapter[IcebergType] = TypeAdapter(IcebergType)
# Iceberg numbers the parts of a nested type; the schema that holds it gives the real numbers.
_UNNUMBERED_KEY, _UNNUMBERED_VALUE = -1, -2


def parse_type(physical: str, logical: str) -> IcebergType:
    """Return the Iceberg type written as ``physical``, such as ``decimal(18,8)``.

    Raises:
        ValueError: Unknown or unsupported type, or ``logical`` is not its logical type.
    """
    word = _word(physical)
    if word not in LOGICAL_TYPES:
        raise ValueError(f"{physical!r} is not a known type")
    if logical != LOGICAL_TYPES[word]:
        raise ValueError(f"{physical} has logicalType {LOGICAL_TYPES[word]}, not {logical!r}")
    if word != "map":
        return _primitive(physical)
    match = MAP.fullmatch(physical)
    if match is None:
        raise ValueError(f"{physical!r} is not map<primitive, primitive>")
    return MapType(
        key_id=_UNNUMBERED_KEY,
        key_type=_primitive(match[1]),
        value_id=_UNNUMBERED_VALUE,
        value_type=_primitive(match[2]),
        value_required=False,
    )


def type_of(physical: str) -> IcebergType:
    """Return the Iceberg type written as ``physical``, whatever its logical type is called.

    Raises:
        ValueError: Unknown or unsupported type.
    """
    return parse_type(physical, LOGICAL_TYPES.get(_word(physical), ""))


def parse_transform(text: str, column_type: IcebergType) -> Transform[object, object]:
    """Return the partition transform written as ``text``, such as ``day`` or ``bucket[16]``.

    Raises:
        ValueError: Unknown transform, or one that cannot be applied to the column's type.
    """
    if not TRANSFORM.fullmatch(text):
        raise ValueError(f"{text!r} is not a known partition transform")
    transform: Transform[object, object] = parse_iceberg_transform(text)
    if not transform.can_transform(column_type):
        raise ValueError(f"{text} cannot be applied to {column_type}")
    return transform


def _word(physical: str) -> str:
    return re.split(r"[(<]", physical, maxsplit=1)[0]


def _primitive(text: str) -> IcebergType:
    try:
        parsed = _PRIMITIVE.validate_python(text)
    except (ValidationError, IcebergValidationError) as error:
        raise ValueError(f"{text!r} is not a known type") from error
    if str(parsed).replace(" ", "") != text.replace(" ", ""):
        raise ValueError(f"{text!r} is not a known type")
    return parsed
