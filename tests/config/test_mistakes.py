"""One line per mistake: the setting, what is allowed, what was found."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from histo.config.mistakes import explain
from histo.config.section import Name, Section


class Wide(Section):
    kind: Literal["wide"] = Field(description="Wide")
    width: int = Field(8, ge=8, multiple_of=8, description="Channels")


class Deep(Section):
    kind: Literal["deep"] = Field(description="Deep")


Shape = Annotated[Wide | Deep, Field(discriminator="kind")]


class Example(Section):
    shape: Shape = Field(Deep(kind="deep"), description="The shape")
    shapes: dict[Name, Shape] = Field({}, description="Shapes by name")
    share: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="A share")
    levels: list[Literal["low", "high"]] = Field([], description="Levels")
    optional: Wide | None = Field(None, description="May be null")


def lines(**settings):
    with pytest.raises(ValidationError) as error:
        Example(**settings)
    return explain(error.value, Example, "example")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"shrae": 1},
            "example.shrae: no such setting; did you mean 'share'? Known here: shape, shapes, share, levels, optional.",
        ),
        ({"share": 2}, "example.share: expected a number above 0 below 1 or null, found 2. A share."),
        ({"levels": ["low", "hihg"]}, "example.levels.1: expected 'low' or 'high', found 'hihg'."),
        ({"shape": {"kind": "wdie"}}, "example.shape.kind: expected 'wide' or 'deep', found 'wdie'."),
        ({"shape": {}}, "example.shape.kind: expected 'wide' or 'deep', found None."),
        ({"shape": "wide"}, "example.shape: expected a mapping, found 'wide'. The shape."),
        (
            {"shape": {"kind": "wide", "width": 12}},
            "example.shape.width: expected a whole number from 8, a multiple of 8, found 12. Channels.",
        ),
        ({"shape": {"kind": "deep", "width": 8}}, "example.shape.width: no such setting; Known here: kind."),
        (
            {"optional": {"kind": "wide", "widthh": 8}},
            "example.optional.widthh: no such setting; did you mean 'width'?",
        ),
        (
            {"optional": {"kind": "wide", "width": 3}},
            "example.optional.width: expected a whole number from 8, a multiple",
        ),
        # The name of an entry may be that of a kind.
        (
            {"shapes": {"wide": {"kind": "wide", "width": 1}}},
            "example.shapes.wide.width: expected a whole number from 8",
        ),
        ({"shapes": {"a/b": {"kind": "deep"}}}, "example.shapes: expected names of the form ^[A-Za-z0-9]"),
    ],
)
def test_the_line_of_a_mistake(settings, expected):
    (line,) = lines(**settings)
    assert line.startswith(expected)


def test_each_mistake_has_its_line():
    assert [line.partition(":")[0] for line in lines(share=0, levels="low", x=1)] == [
        "example.share",
        "example.levels",
        "example.x",
    ]
