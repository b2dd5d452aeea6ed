"""Section `search`: searches for settings of a model."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from histo.config.section import Section, Seed, Unique

Count = Annotated[int, Field(ge=1, le=999)]


class Range(Section):
    """What a setting is sampled from: a range or a list of choices."""

    low: float | None = Field(None, description="Smallest value")
    high: float | None = Field(None, description="Largest value")
    log: bool = Field(False, description="Uniform in the logarithm")
    step: Annotated[float, Field(gt=0)] | None = Field(None, description="Distance of the values, from low on")
    choices: Annotated[list[Any], Field(min_length=1), Unique] | None = Field(
        None, description="Values, equally likely"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """A range or choices; a range with its ends in order, which a logarithm or a number of steps fits."""
        if self.choices is not None:
            given = [key for key in ("low", "high", "log", "step") if key in self.model_fields_set]
            if given:
                raise ValueError(f"choices and {', '.join(given)} exclude each other.")
            return self
        missing = [key for key in ("low", "high") if getattr(self, key) is None]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing; write {{low: …, high: …}} or {{choices: […]}}.")
        low, high = self.ends
        if low >= high:
            raise ValueError(f"expected low below high, found {low} and {high}.")
        if self.log and self.step:
            raise ValueError("log and step exclude each other.")
        if self.log and low <= 0:
            raise ValueError(f"log needs low above 0, found {low}.")
        steps = (high - low) / (self.step or high - low)
        if abs(steps - round(steps)) > 1e-8 * max(1, steps):
            raise ValueError(f"expected a whole number of steps of {self.step} from {low} to {high}.")
        return self

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a range."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    @property
    def ends_are_whole(self) -> bool:
        """Whether a range may be one of whole numbers."""
        return all(end.is_integer() for end in self.ends)

    @property
    def probes(self) -> list[Any]:
        """All choices, or of a range its ends and a value between."""
        if self.choices is not None:
            return self.choices
        low, high = self.ends
        between = low + (self.step or (1 if self.ends_are_whole else (high - low) / 2))
        return [int(value) if value.is_integer() else value for value in (low, high, between)]


class Search(Section):
    model: str = Field(description="Model of `models` whose settings the trials change")
    settings: dict[str, Any] = Field({}, description="Settings in which all trials differ from that model")
    sampler: Literal["random", "tpe"] = Field(
        description="random: independent trials; tpe: from the results of earlier batches of trials"
    )
    trials: Count = Field(description="Number of trials")
    trials_per_batch: Count = Field(description="Trials that tpe samples from the same earlier results")
    seed: Seed = Field(description="Seed of the samples")
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), Unique] = Field(
        description="Validation folds; a trial trains once for each"
    )
    space: dict[str, Range] = Field(min_length=1, description="Dotted name of a setting: range or choices")
