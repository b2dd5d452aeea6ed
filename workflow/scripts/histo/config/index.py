"""Section `index`: the number of shards."""

from typing import Annotated

from pydantic import Field

from histo.config.section import Section

Shards = Annotated[int, Field(ge=1, le=100_000)]


class Index(Section):
    train_shards: Shards = Field(8, description="Number of training shards; also the number of parallel data jobs")
    test_shards: Shards = Field(2, description="Number of test shards")
