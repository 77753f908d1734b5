"""The base of every typed set of hyperparameters."""

from pydantic import BaseModel, ConfigDict


class ParamsModel(BaseModel):
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
