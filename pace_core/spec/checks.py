"""One section of a spec against its schema: values with defaults filled in, or the faults found."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from pace_core.spec.catalogue import Entry
from pace_core.spec.errors import Fault
from pace_core.spec.suggest import did_you_mean
from pace_core.spec.text import brief

_KINDS = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def check_parameters(
    pointer: str, params: Mapping[str, Any], entry: Entry, faults: list[Fault], also: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns the parameters of a catalogue entry, with defaults filled in, and as floats where floats are meant.

    `also`: fields that stand beside the parameters, for suggestions. Faults are appended.
    """
    properties: dict[str, Any] = entry.params.get("properties", {})
    for error in Draft202012Validator(entry.params).iter_errors(dict(params)):  # pyright: ignore[reportUnknownMemberType]
        faults += _schema_faults(pointer, error, entry, [*properties, *also])
    filled = {key: schema["default"] for key, schema in properties.items() if "default" in schema}
    return {key: _as_meant(value, properties.get(key, {})) for key, value in (filled | dict(params)).items()}


def check_model(pointer: str, raw: Any, model: type[BaseModel], faults: list[Fault]) -> dict[str, Any] | None:
    """Returns a typed section as JSON data, defaults filled in; None where it was refused. Faults are appended."""
    if not isinstance(raw, Mapping):
        faults.append(
            Fault(pointer=pointer, code="wrong_type", message=f"must be an object of fields, not {brief(raw)}")
        )
        return None
    try:
        return model.model_validate(raw).model_dump(mode="json", by_alias=True)
    except PydanticError as error:
        faults += model_faults(pointer, error, model)
        return None


def model_faults(pointer: str, error: PydanticError, model: type[BaseModel]) -> list[Fault]:
    """Turns what pydantic refused into faults under `pointer`."""
    faults: list[Fault] = []
    for item in error.errors(include_url=False):
        where = "/".join([pointer, *(str(part) for part in item["loc"])])
        kind, message = item["type"], item["msg"]
        if kind == "extra_forbidden":
            key = str(item["loc"][-1])
            message = f"there is no field {key!r}{did_you_mean(key, model.model_fields)}"
            faults.append(Fault(pointer=where, code="unknown_key", message=message))
        elif kind == "missing":
            faults.append(Fault(pointer=where, code="missing", message="is needed"))
        else:
            code = "wrong_type" if kind.endswith(("_type", "_parsing", "from_float")) else "out_of_range"
            said = message.removeprefix("Input should be ")
            text = (
                f"must be {said}, not {brief(item['input'])}"
                if said != message
                else message.removeprefix("Value error, ")
            )
            faults.append(Fault(pointer=where, code=code, message=text))
    return faults


def _as_meant(value: Any, schema: Mapping[str, Any]) -> Any:
    branches: Sequence[Mapping[str, Any]] = schema.get("anyOf", [])
    kinds = {schema.get("type"), *(branch.get("type") for branch in branches)}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "integer" in kinds:  # 4.0 is a whole number in JSON
        return int(value) if float(value).is_integer() else value
    return float(value) if "number" in kinds else value


def _schema_faults(pointer: str, error: ValidationError, entry: Entry, known: list[str]) -> list[Fault]:
    where = "/".join([pointer, *(str(part) for part in error.absolute_path)])
    keyword, limit, given = str(error.validator), cast(Any, error.validator_value), cast(Any, error.instance)
    match keyword:
        case "additionalProperties":
            return [
                Fault(
                    pointer=f"{where}/{key}",
                    code="unknown_key",
                    message=f"{entry.name} has no parameter {key!r}{did_you_mean(key, known)}",
                )
                for key in given
                if key not in known
            ]
        case "required":
            # jsonschema reports each missing key by itself and names it in its message only
            key = next(str(key) for key in limit if key not in given and repr(key) in error.message)
            about = entry.params.get("properties", {}).get(key, {}).get("description", "")
            message = f"{entry.name} needs {key!r}{': ' + about if about else ''}"
            return [Fault(pointer=f"{where}/{key}", code="missing", message=message)]
        case "anyOf":
            branches = [e for e in error.context or [] if (e.validator, e.validator_value) != ("type", "null")]
            return _schema_faults(pointer, branches[0], entry, known) if branches else []
        case "type":
            message = f"must be {_KINDS.get(str(limit), limit)}, not {brief(given)}"
            return [Fault(pointer=where, code="wrong_type", message=message)]
        case "enum":
            message = f"{brief(given)} is not one of {', '.join(str(choice) for choice in limit)}"
            return [Fault(pointer=where, code="out_of_range", message=message)]
        case "pattern":
            message = (
                f"{brief(given)} does not fit: {entry.params['properties'][error.absolute_path[-1]]['description']}"
            )
            return [Fault(pointer=where, code="out_of_range", message=message)]
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            message = f"must be {_LIMITS[keyword]} {limit}, not {brief(given)}"
            return [Fault(pointer=where, code="out_of_range", message=message)]
        case _:
            return [Fault(pointer=where, code="out_of_range", message=error.message)]
