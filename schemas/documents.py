"""Reads one document of the Open Data Contract Standard, and lets no misspelt key pass."""

import yaml
from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import ValidationError

from schemas.contract import ContractError


def read_document(text: str, source: str) -> OpenDataContractStandard:
    """Return the document as the standard's model.

    Args:
        text: The YAML document.
        source: Name of the file, for the error.

    Raises:
        ContractError: It is not YAML, not version 3 of the standard, or has an unknown key.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(source, "document", f"is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(source, "document", "is not a mapping")
    try:
        standard = OpenDataContractStandard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(source, _path(first["loc"]), first["msg"]) from error
    # The library ignores unknown keys below the top.
    for unknown in _unknown_keys(document, standard.model_dump(by_alias=True)):
        raise ContractError(source, unknown, "is not a key of the Open Data Contract Standard")
    if not (standard.apiVersion or "").startswith("v3."):
        raise ContractError(source, "apiVersion", f"{standard.apiVersion!r} is not version 3")
    return standard


def _unknown_keys(
    stated: object, understood: object, path: tuple[str | int, ...] = ()
) -> list[str]:
    if isinstance(stated, dict) and isinstance(understood, dict):
        found = []
        for key, value in stated.items():
            if key not in understood:
                found.append(_path((*path, key)))
            else:
                found += _unknown_keys(value, understood[key], (*path, key))
        return found
    if isinstance(stated, list) and isinstance(understood, list):
        pairs = zip(stated, understood, strict=True)
        return [
            unknown
            for number, (value, model) in enumerate(pairs)
            for unknown in _unknown_keys(value, model, (*path, number))
        ]
    return []


def _path(parts: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
