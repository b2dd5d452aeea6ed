"""What all sections share: strict types, unknown keys refused, text read as the type of its setting."""

import os
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

# Defaults are validated, so that 0 as the default of a real number is 0.0, as it is where a file says 0.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


def _unique(values: list[Any]) -> list[Any]:
    repeated = {repr(value): values.count(value) for value in values if values.count(value) > 1}
    if repeated:
        raise ValueError("; ".join(f"expected each once, found {value} {n} times." for value, n in repeated.items()))
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # becomes part of a path
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
UserPath = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
Md5 = Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$"), AfterValidator(str.lower)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]
Unique = AfterValidator(_unique)


class Section(BaseModel):
    """A section: its fields are the settings, with their types, ranges, defaults and descriptions."""

    model_config = STRICT

    @model_validator(mode="before")
    @classmethod
    def _read_values(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: _read(cls, key, value) if key in cls.model_fields else value for key, value in values.items()}


@cache
def _type_of(section: type[Section], key: str) -> TypeAdapter[Any]:
    annotation: Any = section.model_fields[key].annotation
    return TypeAdapter(annotation)


def _read(section: type[Section], key: str, value: Any) -> Any:
    """Return `value` as the type of its setting: Snakemake passes what is nested in `--config section='{key: 1}'` as
    text, YAML takes 1e-3 for text, and 32.0 stands for 32. What fits no type is returned unchanged."""
    if not isinstance(value, str | float | list):
        return value
    for candidate in _readings(value):
        try:
            _type_of(section, key).validate_python(candidate, strict=True)
        except ValidationError:
            continue
        return candidate
    return value


def _readings(value: Any) -> list[Any]:
    """Return what `value` may stand for, the most likely first."""
    if isinstance(value, list):
        return [value, [_readings(one)[-1] for one in value]]
    readings = [None, value] if value == "null" else [value]
    if isinstance(value, str):
        for read in (float, yaml.safe_load):
            with suppress(ValueError, yaml.YAMLError):
                readings.append(read(value))
    return readings + [int(one) for one in readings if isinstance(one, float) and one.is_integer()]
