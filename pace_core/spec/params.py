"""The base of every typed set of hyperparameters."""

from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Base class of a spec's parts: neither `true` nor "7" is a number, though pydantic takes them for one."""

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, bool | str):
            return value
        kinds = _kinds_of(cls, info.field_name or "")
        if kinds & {int, float} and type(value) not in kinds:
            what = "a whole number" if int in kinds else "a number"
            raise PydanticCustomError("number_type", "Input should be {what}", {"what": what})
        return value


@cache
def _kinds_of(section: type[BaseModel], field: str) -> set[Any]:
    return _kinds(section.model_fields[field].annotation)


def _kinds(annotation: Any) -> set[Any]:
    return {annotation}.union(*(_kinds(part) for part in get_args(annotation)))


class ParamsModel(Section):
    """Frozen hyperparameters: unknown keys are refused, a docstring under a field becomes its description.

    JSON keys are the paper's symbols; where a symbol is a Python keyword the field carries it as alias (`lambda`).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )
