"""Section `apply`: a model and the tiles that it is applied to."""

from pydantic import Field

from histo.config.section import Name, Section, UserPath


class Apply(Section):
    model: Name = Field(description="Network that predicts, one of `models`")
    tiles: UserPath = Field(
        description="Folder or zip archive of TIFF, PNG or JPEG files, folder in it (archive.zip/test), shard, or "
        "folder of shards"
    )
    out: UserPath = Field(description="CSV file that is written")
