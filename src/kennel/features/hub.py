"""The `dinov2` and `clip` extractors: vision transformers, run by the `transformers` library.

The library is an extra (`pip install "kennel[hub]"`), imported only when one of them is opened. Weights are a
folder with `config.json` and `model.safetensors`, from the publishers' repositories at a pinned revision or
given by the user. Pickles are never read, and images are resized by kennel, not by the library.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from kennel.errors import WeightsError
from kennel.features.base import DTYPES, EXTRACTORS, ChunkedExtractor, Logits, Precision, as_rgb
from kennel.features.hub_cache import (
    CLIP_BASE_32,
    CONFIG,
    DINOV2_BASE,
    DINOV2_LARGE,
    TENSORS,
    Repository,
    check_folder,
    fetch_repository,
    find_repository_folder,
    import_optional,
)
from kennel.features.pillow_bicubic import pillow_bicubic
from kennel.features.weights import tensors_digest
from kennel.shapes import Features, Pixels
from kennel.storage.hashing import file_sha256

INPUT_SIDE = 224
LOADING: dict[str, Any] = {
    "use_safetensors": True,
    "local_files_only": True,
    "dtype": torch.float32,
    "output_loading_info": True,
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and deviation of red, green and blue in [0, 1], as the publishers normalize."""

Maps = Float[Tensor, "batch 3 rows columns"]  # RGB at the input size of the network


class HubExtractor(ChunkedExtractor):
    """An extractor whose network is a class of `transformers`; subclasses define it and its input."""

    slow: ClassVar[bool] = True
    repository: ClassVar[Repository]
    normalization: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]

    def __init__(
        self, folder: Path, *, device: torch.device | str = "cpu", precision: Precision = "float32"
    ) -> None:
        """Loads the network of `folder`; raises `WeightsError` if it is incomplete or another network."""
        sha256 = file_sha256(folder / TENSORS)
        network = self._load(folder).eval().requires_grad_(False)
        verified = sha256 == self.repository.sha256
        self.weights_digest = sha256 if verified else f"tensors:{tensors_digest(network.state_dict())}"
        self.device, self.precision = torch.device(device), precision
        self.network = network.to(self.device, DTYPES[precision])
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in self.normalization)
        self._mean, self._deviation = mean.to(self.device), deviation.to(self.device)

    @classmethod
    def open(cls, weights: Path | None = None, *, download: bool = True, **options: Any) -> "HubExtractor":
        """With the folder `weights`, else the one found, else (if `download`) the published one."""
        import_optional("transformers", cls.name)
        if weights is None:
            folder = find_repository_folder(cls.repository)
        else:
            folder = check_folder(cls.repository, cls.name, weights)
        if folder is None:
            if not download:
                raise WeightsError(
                    f"the weights of the {cls.name} extractor are missing: `kennel extractor fetch "
                    f"{cls.name}` downloads them from {cls.repository.address}, or give a folder with "
                    "--weights"
                )
            folder = fetch_repository(cls.repository, cls.name)
        return cls(folder, **options)

    @classmethod
    def is_available(cls) -> bool:
        """Whether its folder and the library are installed."""
        return find_repository_folder(cls.repository) is not None and find_spec("transformers") is not None

    @abstractmethod
    def _network(self, transformers: Any, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        """The network of `folder` and the library's loading report; sets `dimension`."""

    @abstractmethod
    def _features(self, images: Maps) -> Features:
        """Features of normalized images."""

    @abstractmethod
    def _resized(self, pixels: Pixels) -> Maps:
        """uint8 RGB at the input size of the network, integers 0..255 in float32."""

    def _load(self, folder: Path) -> nn.Module:
        transformers = import_optional("transformers", self.name)
        try:
            with _quiet_loading(transformers):
                network, report = self._network(transformers, folder)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            first = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"{folder} does not contain the network of the {self.name} extractor ({first}): get "
                f"{CONFIG} and {TENSORS} again from {self.repository.address}"
            ) from error
        missing = sorted(report["missing_keys"])
        if missing:
            raise WeightsError(
                f"{folder / TENSORS} lacks {len(missing)} tensors of the {self.name} network, such as "
                f"{missing[0]}: get it again from {self.repository.address}"
            )
        return network

    def _forward(self, pixels: Pixels) -> tuple[Features, Logits | None]:
        images = (self._resized(as_rgb(pixels)) / 255 - self._mean) / self._deviation
        return self._features(images.to(DTYPES[self.precision])), None


class _Dinov2(HubExtractor):
    """The class token of DINOv2 after the last layer norm (Oquab et al., arXiv 2304.07193). The input is that
    of Stein et al. (arXiv 2306.04675), who propose DINOv2 for Fréchet distances. It has no logits."""

    resize = "Pillow's bicubic (antialiased, 8 bits) to 224x224, / 255, mean and deviation of ImageNet"
    normalization = IMAGENET

    def _network(self, transformers: Any, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        network, report = transformers.Dinov2Model.from_pretrained(folder, **LOADING)
        self.dimension = int(network.config.hidden_size)
        return network, report

    def _resized(self, pixels: Pixels) -> Maps:
        return pillow_bicubic(pixels, INPUT_SIDE, INPUT_SIDE)

    def _features(self, images: Maps) -> Features:
        features: Tensor = self.network(images).pooler_output
        return features


@EXTRACTORS.register("dinov2")
class Dinov2(_Dinov2):
    """DINOv2 ViT-L/14 (1024 features), the network of published FD-DINOv2 values."""

    name = "dinov2"
    dimension = 1024
    repository = DINOV2_LARGE


@EXTRACTORS.register("dinov2_base")
class Dinov2Base(_Dinov2):
    """DINOv2 ViT-B/14 (768 features), at a third of the cost; comparable with its own values only."""

    name = "dinov2_base"
    dimension = 768
    repository = DINOV2_BASE


@EXTRACTORS.register("clip")
class Clip(HubExtractor):
    """The projected image embedding (512) of CLIP ViT-B/32 (Radford et al., arXiv 2103.00020), not
    normalized. The input is that of CLIP-FID (Kynkäänniemi et al., arXiv 2203.06026): the shorter side by
    bicubic to 224, then the center. It has no logits."""

    name = "clip"
    slow: ClassVar[bool] = False
    dimension = 512
    resize = (
        "Pillow's bicubic (antialiased, 8 bits), shorter side to 224, centre 224x224, / 255, "
        "mean and deviation of CLIP"
    )
    normalization = OPENAI
    repository = CLIP_BASE_32

    def _network(self, transformers: Any, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        config = transformers.CLIPConfig.from_pretrained(folder, local_files_only=True)
        config.vision_config.projection_dim = config.projection_dim
        network, report = transformers.CLIPVisionModelWithProjection.from_pretrained(
            folder, config=config.vision_config, **LOADING
        )
        self.dimension, self._side = int(config.projection_dim), int(config.vision_config.image_size)
        if self._side != INPUT_SIDE:
            self.resize = self.resize.replace(str(INPUT_SIDE), str(self._side))
        return network, report

    def _resized(self, pixels: Pixels) -> Maps:
        height, width = pixels.shape[-2:]
        shorter = min(height, width)
        tall, wide = self._side * height // shorter, self._side * width // shorter
        images = pillow_bicubic(pixels, tall, wide)
        top, left = round((tall - self._side) / 2), round((wide - self._side) / 2)
        return images[..., top : top + self._side, left : left + self._side]

    def _features(self, images: Maps) -> Features:
        features: Tensor = self.network(pixel_values=images).image_embeds
        return features


@contextmanager
def _quiet_loading(transformers: Any) -> Iterator[None]:
    logging = transformers.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
