"""Section `dataset`: where the tiles come from."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from histo.config.section import Name, Section, UserPath
from histo.geometry import CENTRE, SIDE


class _Dataset(Section):
    name: Name = Field(description="Results lie under results/<name>/")
    tile_side: int = Field(
        SIDE, ge=32, le=512, multiple_of=32, description="Side of the tiles, pixels; also set train.center_crop"
    )
    centre_side: int = Field(
        CENTRE,
        ge=2,
        le=512,
        multiple_of=2,
        description="Side of the central square that decides the label, pixels; tile_side if the whole tile does",
    )
    classes: int = Field(2, ge=2, le=100, description="Number of classes; labels are 0 to classes - 1")


class KaggleSource(_Dataset):
    source: Literal["kaggle"] = Field(description="Download from Kaggle")


class ArchiveSource(_Dataset):
    source: Literal["archive"] = Field(description="A zip in the layout of Kaggle's")
    archive: UserPath = Field(description="Path of the zip")


class FolderSource(_Dataset):
    source: Literal["folder"] = Field(description="An extracted archive")
    folder: UserPath = Field(description="Path of the folder with train/, test/ and the two tables")


class PcamSource(_Dataset):
    source: Literal["pcam"] = Field(description="PatchCamelyon's own files")


class SyntheticSource(_Dataset):
    source: Literal["synthetic"] = Field(description="Synthetic tiles")


def _without_null(values: Any) -> Any:
    """A path that is null says nothing, so that one file can override another's source."""
    return {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values


Dataset = Annotated[
    KaggleSource | ArchiveSource | FolderSource | PcamSource | SyntheticSource,
    Field(discriminator="source"),
    BeforeValidator(_without_null),
]
