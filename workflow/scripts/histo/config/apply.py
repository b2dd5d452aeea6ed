"""Section `apply`: a model and the tiles that it is applied to."""

from pydantic import Field

from histo.config.section import Name, Section, UserPath


class Apply(Section):
    model: Name = Field(description="Network that predicts, one of `models`")
    tiles: UserPath = Field(
        description="Folder or zip archive of TIFF, PNG or JPEG files, folder in it (archive.zip/test), shard, or "
        "folder of shards"
    )
    stride: int | None = Field(
        None, ge=1, description="Step, pixels, at which larger images are cut into tiles; null: images are tiles"
    )
    microns_per_pixel: float | None = Field(
        None, gt=0, description="Of the training tiles; `tiles` is then a whole-slide file or a folder of them"
    )
    out: UserPath = Field(description="CSV file that is written")
