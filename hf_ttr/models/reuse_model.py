"""What models with reuse share, whatever they see: they are built by the parent's code, and then change class."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ..caching.fingerprint import WeightsFingerprint
from ..configuration import as_temporal_reuse_config
from ..execution.flops import TransformerCost, multiply_adds_of_row
from ..execution.kernels.row_buckets import RowBuckets
from ..execution.packed_weights import PackedWeights
from ..hub.remote_code import StaysInPackage
from .attending import ReuseAttention, ReuseLayer, become, become_encoder


class ReuseParts:
    """
    Where the parts of a model of transformers are that every encoder has. Methods are given the base model.

    Attributes:
        layer_class, attention_class: with reuse, in the place of the parent's.
        projection, layers (`str`): where these are in the base model.
    """

    layer_class: ClassVar[type[ReuseLayer]]
    attention_class: ClassVar[type[ReuseAttention]]
    projection: ClassVar[str] = "embeddings.patch_embeddings.projection"
    layers: ClassVar[str] = "layers"

    def layers_of(self, base: Any) -> Any:
        """The layers."""
        return base.get_submodule(self.layers)

    def projection_of(self, base: Any) -> Any:
        """The convolution that makes patches of pixels."""
        return base.get_submodule(self.projection)

    def cost(self, base: Any, patches: int) -> TransformerCost:
        """Multiply-adds, out of the layers that are there, with so many patches at a time."""
        layers, patch = self.layers_of(base), patches * multiply_adds_of_row(self.projection_of(base))
        return self.layer_class.cost(layers[0], self.attention_class.projections, patch, len(layers))


class ReuseEncoder(StaysInPackage):
    """
    In front of a base model of transformers.

    Attributes:
        parts: where its parts are.
        packed_weights (`PackedWeights`, *optional*), row_buckets (`RowBuckets`, *optional*), captured_steps
            (`CapturedSteps` or `CapturedWindows`, *optional*), captured_clips (`CapturedClips`, *optional*): what
            `hf_ttr.optimize` switched on.
    """

    parts: ClassVar[Any]
    config: Any
    device: torch.device
    training: bool
    # Which rows are computed depends on the data.
    _can_compile_fullgraph = False

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.adopt()

    def adopt(self) -> None:
        """Makes a model that was built by the parent's code one with reuse."""
        # A setting that came with the checkpoint's name was put into the config after that was made.
        self.config.active_reductions(as_temporal_reuse_config(self.config.temporal_reuse))
        become(self, self.parts.layers_of(self), self.parts.layer_class, self.parts.attention_class)
        self._fingerprint = WeightsFingerprint()
        self.packed_weights: PackedWeights | None = None
        self.row_buckets: RowBuckets | None = None
        self.captured_steps: Any = None
        self.captured_clips: Any = None

    @property
    def video_encoder(self) -> Any:
        """The part that has the layers."""
        return self

    def weights_digest(self) -> str:
        """What tells the weights of this model from those of another, and from what they were before they changed."""
        weights = self._fingerprint.of(self)  # type: ignore[arg-type]
        if self.packed_weights is not None:
            self.packed_weights.belong_to(weights)
        return weights


class ReuseClassifier(StaysInPackage):
    """
    In front of a classifier of transformers.

    Attributes:
        encoder_class: the class with reuse of the part that has the layers.
    """

    encoder_class: ClassVar[type[ReuseEncoder]]
    classifier: Any
    config: Any
    loss_function: Any
    _can_compile_fullgraph = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        become_encoder(self, self.encoder_class)

    @property
    def video_encoder(self) -> Any:
        """The part that has the layers."""
        return next(part for part in self.children() if isinstance(part, ReuseEncoder))  # type: ignore[attr-defined]


__all__ = ["ReuseClassifier", "ReuseEncoder", "ReuseParts"]
