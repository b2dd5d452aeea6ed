"""Section `train`: what every model starts from; `models` overrides it model by model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from histo.config.network import Network, P4mResidual
from histo.config.section import Name, Section, Seed, Unique
from histo.user_functions import PATTERN

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Section):
    """Random changes of the training tiles, sampled anew for each tile and epoch; 0: off."""

    flips: bool = Field(True, description="The eight flips and 90° rotations")
    shift: float = Field(0, ge=0, le=16, description="Pixels, uniform in ±")
    rotation: float = Field(0, ge=0, le=180, description="Degrees, uniform in ±")
    zoom: float = Field(0, ge=0, le=0.5, description="Factor uniform in 1 ±")
    shear: float = Field(0, ge=0, le=45, description="Degrees, uniform in ±")
    brightness: Share = Field(0.1, description="Factor uniform in 1 ±")
    contrast: Share = Field(0.1, description="Factor uniform in 1 ±, around the mean colour of the training tiles")
    saturation: Share = Field(0.1, description="Factor uniform in 1 ±, around the grey level of the pixel")
    hue: float = Field(0.02, ge=0, le=0.5, description="Rotation of the colour circle, in full turns, uniform in ±")
    channel_scale: Share = Field(0.2, description="Factor per channel, uniform in 1 ±")
    channel_offset: float = Field(0.3, ge=0, le=2, description="Standard deviations per channel, uniform in ±")
    stain: float = Field(
        0,
        ge=0,
        le=0.5,
        description="Haematoxylin, eosin and DAB in absorbance: factor 1 ±, offset ± (Tellez et al. 2018)",
    )
    gamma: Share = Field(0, description="Exponent e^x per channel of intensity / white, x uniform in ±; white stays")
    stain_scale: Share = Field(
        0, description="Haematoxylin, eosin and DAB in absorbance: factor uniform in 1 ±; white stays"
    )
    sharpness: Share = Field(0, description="Factor of the detail that a blur of 1 pixel removes, uniform in 1 ±")
    noise: float = Field(
        0, ge=0, le=30, description="Gaussian noise; its standard deviation, in grey levels, is uniform from 0 to this"
    )
    probability: Share = Field(
        1,
        description="Probability, drawn for each, of: brightness to channel_offset as one, stain, gamma, stain_scale, "
        "sharpness, noise",
    )
    erase: Share = Field(0, description="Share of the tiles in which a rectangle outside the centre is erased")
    mixup: Share = Field(0, description="Share of the tiles that are blended with another tile, labels included")
    cutmix: Share = Field(
        0, description="Share of the tiles with a rectangle of another tile; mixup + cutmix at most 1"
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.mixup + self.cutmix > 1:
            raise ValueError("augment.mixup and augment.cutmix are shares of the same tiles: at most 1 together.")
        return self


class TrainSettings(Section):
    """All settings of one model."""

    network: Network = Field(P4mResidual(), description="The network and its options")
    center_crop: int = Field(
        96,
        ge=32,
        le=512,
        multiple_of=32,
        description="Side of the central square that the network sees, pixels; at most dataset.tile_side",
    )
    input_size: Annotated[int, Field(ge=32, le=512)] | None = Field(
        None, description="Side to which the central square is resized (bilinear), pixels; null: as it is"
    )
    normalisation: Literal["tiles", "imagenet"] = Field(
        "tiles", description="Mean and standard deviation of the channels: of the training tiles or of ImageNet"
    )
    seed: Seed = Field(1, description="Seed of initial weights, order of the batches and augmentation")
    epochs: int = Field(20, ge=1, le=1000, description="Passes over the training tiles")
    batch_size: int = Field(64, ge=2, le=4096, description="Tiles per step; the incomplete last batch is dropped")
    optimizer: Annotated[str, Field(pattern=f"^(adamw|adam|{PATTERN[1:-1]})$")] = Field(
        "adamw",
        description="adamw: decoupled weight decay; adam: weight decay added to the gradient; or one from a Python "
        "file of yours, `path/to/file.py:function`",
    )
    learning_rate: float = Field(0.003, gt=0, le=1, description="Peak of the schedule")
    pretrained_learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Peak for the layers that start from pretrained weights; null: learning_rate"
    )
    weight_decay: Share = Field(0.05, description="Weight decay; adamw exempts biases and normalisation layers")
    schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle",
        description="one_cycle: from 1/25 of the peak up, then down to 1/10,000; cosine: linear warmup, then to 0",
    )
    warmup: float = Field(0.25, ge=0, lt=1, description="Share of the steps in which the learning rate rises")
    gradient_clip: float = Field(1, ge=0, le=1000, description="Largest norm of the gradient; 0: off")
    ema: float = Field(0, ge=0, lt=1, description="Decay per step of the moving average of the weights; 0: off")
    checkpoint: Literal["last", "best", "ema"] = Field(
        "last", description="Weights that predict; best is chosen on the validation fold and makes its AUC optimistic"
    )
    monitor: Literal["auc", "loss"] = Field(
        "auc", description="Validation metric that decides which epoch is best, for checkpoint and patience"
    )
    patience: int = Field(0, ge=0, le=1000, description="Early stopping: epochs without improvement; 0: off")
    loss: Annotated[str, Field(pattern=PATTERN)] | None = Field(
        None, description="Loss from a Python file of yours, `path/to/file.py:function`; null: cross-entropy"
    )
    label_smoothing: float = Field(0, ge=0, lt=0.5, description="Label smoothing (Szegedy et al. 2016)")
    pos_weight: Annotated[float, Field(gt=0, le=100)] | None = Field(
        1, description="Weight of label 1 in the loss; null: number of negative over number of positive training tiles"
    )
    focal_gamma: float = Field(0, ge=0, le=10, description="Focal loss (Lin et al. 2017); 0: off")
    precision: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Arithmetic; auto: bfloat16 where the hardware has it, float16 on older GPUs, else float32"
    )
    threads: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads of training and prediction on a CPU; another number rounds sums differently",
    )
    compile: bool = Field(False, description="torch.compile")
    cuda_graphs: bool = Field(False, description="Steps as CUDA graphs, by torch.compile; no effect without CUDA")
    deterministic: bool = Field(False, description="Deterministic kernels, chosen without timing, and no TF32; slower")
    pseudo_labels: Annotated[list[str], Unique] = Field(
        [],
        description="Models whose probabilities of the test tiles are soft labels, with which these are trained on too "
        "(transductive); empty: off",
    )
    warm_start: Name | None = Field(
        None,
        description="Model of the same network whose trained weights this one starts from, fold by fold; null: none",
    )
    augment: Augmentation = Field(Augmentation(), description="Random changes of the training tiles")
    augmentation: Annotated[str, Field(pattern=PATTERN)] | None = Field(
        None, description="Changes after those of `augment`, from a Python file of yours, `path/to/file.py:function`"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.checkpoint == "ema" and self.ema == 0:
            raise ValueError("checkpoint: ema needs ema above 0, such as 0.999.")
        if self.loss and (self.label_smoothing, self.pos_weight, self.focal_gamma) != (0, 1, 0):
            raise ValueError(
                "loss: label_smoothing, pos_weight and focal_gamma are of the cross-entropy; set them to 0, 1 and 0."
            )
        if self.network.name == "center32_3conv" and self.center_crop != 32:
            raise ValueError(
                "center_crop: the network center32_3conv sees the central 32 × 32 pixels; set center_crop: 32."
            )
        weights = getattr(self.network, "weights", "none")
        if weights == "imagenet" and self.normalisation != "imagenet":
            raise ValueError("normalisation: ImageNet weights expect ImageNet's; set normalisation: imagenet.")
        if weights != "none" and self.warm_start:
            raise ValueError("warm_start: its weights replace those of network.weights; set network.weights: none.")
        if weights == "none" and self.pretrained_learning_rate is not None:
            raise ValueError("pretrained_learning_rate: set network.weights, or remove it.")
        return self
