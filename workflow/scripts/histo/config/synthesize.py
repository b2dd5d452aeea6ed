"""Section `synthesize`: the synthetic archive."""

from typing import Annotated

from pydantic import Field

from histo.config.section import Section, Seed

Tiles = Annotated[int, Field(ge=10, le=1_000_000)]
Slides = Annotated[int, Field(le=100_000)]
Count = Annotated[int, Field(ge=0, le=10_000)]


class Faults(Section):
    corrupt_tiff: Count = Field(0, description="Damaged files")
    wrong_size: Count = Field(0, description="Another size than the other tiles")
    greyscale: Count = Field(0, description="One channel")
    rgba: Count = Field(0, description="Four channels")
    missing_file: Count = Field(0, description="Listed in train_labels.csv, no file")
    duplicate_content: Count = Field(0, description="Pixels of another tile")
    bad_label: Count = Field(0, description="A label other than 0 and 1")
    altered_pixels: Count = Field(0, description="One pixel changed")


class Synthesize(Section):
    train_tiles: Tiles = Field(ge=50, description="Number of training tiles")
    test_tiles: Tiles = Field(description="Number of test tiles")
    train_slides: Slides = Field(ge=2, description="Number of slides of the training tiles")
    test_slides: Slides = Field(ge=1, description="Number of slides of the test tiles")
    seed: Seed = Field(1, description="Seed of all random draws")
    faults: Faults = Field(Faults(), description="Number of training tiles with each planted fault")
