"""Models that look at frames one by one, and then at the frames of a window together: what these share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from transformers.utils import ModelOutput
from transformers.utils.output_capturing import capture_outputs

from ..caching.cache import TemporalReuseCache
from ..caching.factorized_cache import TemporalReuseFactorizedCache
from ..configuration import TemporalReuseConfig
from ..execution.flops import ReuseReport
from ..modeling_outputs import TemporalReuseModelOutput, concatenate_outputs, map_tensors
from ..planning.plan import NEVER
from ..planning.price import check_thresholds
from .attending import become
from .frame_model import FrameModel, FrameParts
from .window_model import TakesWindows, checksums_of, frames_in_common


class FactorizedParts(FrameParts):
    """
    Where the parts of a model of transformers are; those of `FrameParts` are of its first part, which sees frames.

    Attributes:
        layers_over_time (`str`): where the layers of the second part are, which are like those of the first.
        pixels, choices: as in `WindowParts`.
    """

    layers_over_time: ClassVar[str]
    pixels: ClassVar[str] = "pixel_values"
    choices: ClassVar[dict[str, Any]] = {}
    norm = None
    options = ()

    def reads(self, base: Any) -> None:
        """See `FrameParts.reads`; what looks at time looks at every token."""
        return None

    def over_time(self, base: Any, states: torch.Tensor, **kwargs: Any) -> ModelOutput:
        """
        The parent's output, of what its first part made of the frames.

        Args:
            base: the model.
            states (`torch.Tensor` of shape `(batch, frames, tokens, hidden_size)`): last hidden states of the frames.
            kwargs: for the layers.
        """
        raise NotImplementedError

    def further(self, base: Any, states: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """See `WindowParts.further`."""
        return {}, 0

    # What follows from the above.

    def over_time_of(self, base: Any) -> Any:
        """The layers of the second part."""
        return base.get_submodule(self.layers_over_time)

    def cost_over_time(self, base: Any, frames: int, tokens: int) -> int:
        """Multiply-adds of the second part, where the frames at each of so many places attend to one another."""
        cost = replace(self.cost(base, 0), layers=len(self.over_time_of(base)))
        return tokens * cost.rows(frames, frames, frames)


_RECORDED = {"hidden_states": "output_hidden_states", "attentions": "output_attentions"}
"""What can be recorded of layers, and what asks for it."""


@dataclass
class EncodedFrames:
    """
    A window that went through both parts of the encoder, the first one with reuse.

    Attributes:
        layers (`ModelOutput`): as the parent's output.
        cache (`TemporalReuseFactorizedCache`, *optional*): for the next window; `None` in mode "off".
        report (`ReuseReport`): what it cost.
    """

    layers: ModelOutput
    cache: TemporalReuseFactorizedCache | None
    report: ReuseReport

    @property
    def states(self) -> torch.Tensor:
        """Last hidden states, `(batch, tokens, hidden_size)`."""
        states: torch.Tensor = self.layers["last_hidden_state"]
        return states

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.states.shape[1]

    @property
    def row_counts(self) -> list[int]:
        """How many rows of each stream the head gets."""
        return [self.tokens] * len(self.states)


class FactorizedModel(TakesWindows, FrameModel):  # type: ignore[misc]
    """
    In front of a base model of transformers that looks at frames one by one first: there it reuses what did not
    change from frame to frame, and whole frames where it is told the `stride` of a stream's windows. What looks at
    time runs whole.
    """

    parts: ClassVar[FactorizedParts]
    cache_class: ClassVar[type[TemporalReuseCache]] = TemporalReuseFactorizedCache

    def adopt(self) -> None:
        """See `ReuseEncoder.adopt`."""
        super().adopt()
        become(self, self.parts.over_time_of(self), self.parts.layer_class, self.parts.attention_class)

    def last_states(self, encoded: EncodedFrames) -> torch.Tensor:
        """See `TakesWindows.last_states`."""
        return encoded.states

    @torch.compiler.disable
    def encode_window(
        self,
        pixel_values: torch.Tensor,
        settings: TemporalReuseConfig,
        past_key_values: TemporalReuseFactorizedCache | None = None,
        stride: int | None = None,
        output_token_maps: bool = False,
        thresholds: torch.Tensor | None = None,
        reads: int | None = None,
        **kwargs: Any,
    ) -> EncodedFrames:
        """See `TakesWindows.encode_window`; every token is read."""
        checksums = checksums_of(pixel_values)
        if settings.mode == "off":
            self.refuse_cache(past_key_values, stride)
        chosen = kwargs.get("output_hidden_states")
        if not (chosen is None or isinstance(chosen, bool)):
            # They are counted over both parts.
            kwargs["output_hidden_states"] = True
        before = _before(past_key_values, checksums)
        overlap = frames_in_common(checksums, before, stride)
        wanted = any(kwargs.get(name, getattr(self.config, name)) for name in _RECORDED.values())
        goes_on = [False] * len(checksums) if before is None or not overlap or wanted else before[1]
        thresholds = check_thresholds(thresholds, len(checksums))
        options = {"temporal_reuse": settings, "output_token_maps": output_token_maps, **kwargs}
        groups = [[row for row, is_known in enumerate(goes_on) if is_known is what] for what in (False, True)]
        if past_key_values is not None and all(groups):
            # Streams that just started have more to compute; the others go on undisturbed.
            parts, order = [], torch.tensor([*groups[0], *groups[1]]).argsort().to(pixel_values.device)
            for group, kept in zip(groups, (0, overlap)):
                streams = torch.tensor(group)
                part, own = past_key_values.take(streams), None if thresholds is None else thresholds[streams]
                parts.append(self._encode_frames(pixel_values[streams], kept, part, own, options))
                past_key_values.put(streams, part)
            output: Any = map_tensors(concatenate_outputs(parts, dim=0), lambda tensor: tensor[order])
            output.past_key_values = past_key_values
        else:
            kept = overlap if groups[1] else 0
            output = self._encode_frames(pixel_values, kept, past_key_values, thresholds, options)
        states, cache, report = output.last_hidden_state, output.past_key_values, output.reuse
        if cache is not None:
            cache.window_states, cache.checksums = states.detach(), checksums
        layers = self._run_over_time(states, return_dict=True, **kwargs)
        for name in _RECORDED:
            if output.get(name) is not None:
                # The parent has the frames of all streams in one dimension, and what goes into layers only once.
                seen = (part.flatten(0, 1) for part in output[name])
                layers[name] = (*seen, *layers[name][int(name == "hidden_states") :])
        if kwargs.get("output_hidden_states") is not chosen:
            layers["hidden_states"] = _chosen_states(layers["hidden_states"], chosen)
        report.add_head(self.parts.cost_over_time(self, *states.shape[1:3]))
        return EncodedFrames(layers, cache, report)

    def _encode_frames(
        self,
        pixel_values: torch.Tensor,
        kept: int,
        past: TemporalReuseFactorizedCache | None,
        thresholds: torch.Tensor | None,
        options: dict[str, Any],
    ) -> TemporalReuseModelOutput:
        """What the first part makes of a window; its first `kept` frames are the last ones of the previous window."""
        output = self.encode_frames(
            pixel_values[:, kept:], past, output_reuse_plan=True, thresholds=thresholds, **options
        )
        if kept and past is not None and past.window_states is not None:
            states = output.last_hidden_state
            output.last_hidden_state = torch.cat([past.window_states[:, -kept:].to(states), states], dim=1)
            output.reuse.add_kept_frames(kept)
        return output

    @capture_outputs
    def _run_over_time(self, states: torch.Tensor, **kwargs: Any) -> ModelOutput:
        return self.parts.over_time(self, states, **kwargs)


def _chosen_states(states: tuple[torch.Tensor, ...], chosen: Any) -> tuple[torch.Tensor | None, ...]:
    """The hidden states with the given numbers, which count from the end below 0, and `None` for the others."""
    numbers = [chosen] if isinstance(chosen, int) else chosen
    wanted = {number % len(states) for number in numbers if -len(states) <= number < len(states)}
    return tuple(part if number in wanted else None for number, part in enumerate(states))


def _before(past: Any, checksums: torch.Tensor) -> tuple[torch.Tensor, list[bool]] | None:
    """What `frames_in_common` takes, out of a cache; that of something else is refused later on."""
    if not isinstance(past, TemporalReuseFactorizedCache) or past.streams is None or past.checksums is None:
        return None
    goes_on = (past.streams.age < NEVER).any(-1).tolist()
    return (past.checksums, goes_on) if past.checksums.shape == checksums.shape else None


__all__ = ["EncodedFrames", "FactorizedModel", "FactorizedParts"]
