"""What models with reuse share, whatever they see: they are built by the parent's code, and then change class."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ..caching.fingerprint import WeightsFingerprint
from ..configuration import as_temporal_reuse_config
from ..execution.kernels.row_buckets import RowBuckets
from ..execution.packed_weights import PackedWeights
from ..hub.remote_code import StaysInPackage
from .attending import become, become_encoder


class ReuseEncoder(StaysInPackage):
    """
    In front of a base model of transformers.

    Attributes:
        parts: where its parts are.
        packed_weights (`PackedWeights`, *optional*), row_buckets (`RowBuckets`, *optional*): what `hf_ttr.optimize`
            switched on.
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
        as_temporal_reuse_config(self.config.temporal_reuse).active_reductions(self.config.model_shape())
        become(self, self.parts.layers_of(self), self.parts.layer_class, self.parts.attention_class)
        self._fingerprint = WeightsFingerprint()
        self.packed_weights: PackedWeights | None = None
        self.row_buckets: RowBuckets | None = None

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


__all__ = ["ReuseClassifier", "ReuseEncoder"]
