"""Models that look at frames one by one: what those of all families share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from ..caching.cache import TemporalReuseCache
from ..checks import check_attention_takes_masks
from ..configuration import TemporalReuseConfig, as_temporal_reuse_config
from ..execution.flops import CostCounter, ReuseReport, multiply_adds_of_row
from ..execution.kernels.row_buckets import pad_rows, trim_rows
from ..execution.linear import dtype_of_inputs, warn_of_slow_dtype
from ..execution.packed import FrameCall
from ..execution.token_maps import TokenMapper
from ..modeling_outputs import (
    TemporalReuseImageClassifierOutput,
    TemporalReuseModelOutput,
    TemporalReuseVideoClassifierOutput,
    concatenate_outputs,
    map_tensors,
)
from ..planning.frame_skipping import FEWEST
from ..planning.planner import NOTHING_SPENT, Planner
from ..planning.price import check_thresholds
from ..reduction.base import FrameReduction, LayerReduction, ModelShape, Reduction
from ..reduction.frame_merging import merge_frames
from ..reduction.row_reduction import RowReduction
from .attending import LayerRun, running
from .reuse_model import ReuseClassifier, ReuseEncoder, ReuseParts
from .skipping import encode_with_skipping


LayerInputs = Callable[[Callable[[torch.Tensor], torch.Tensor] | None], dict[str, Any]]
"""
What layers get beside hidden states. The argument makes of a table of the tokens of a frame, `(tokens, dim)`, what the
rows have of it, as `FrameCall.per_row`; it is `None` where rows are all tokens, in order.
"""


@dataclass
class FrameRun(LayerRun):
    """
    A layer of a call whose frames attend to themselves alone.

    Attributes:
        call (`FrameCall`): its part in the call.
        cache (`TemporalReuseCache`, *optional*): `None` where nothing is to be remembered.
    """

    call: FrameCall
    cache: TemporalReuseCache | None

    @property
    def selects(self) -> bool:
        """See `LayerRun.selects`."""
        return self.call.outputs is not None

    def select(self, states: torch.Tensor) -> torch.Tensor:
        """See `LayerRun.select`."""
        return self.call.select_outputs(states)

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `LayerRun.attend`; a mask is what the model adds to the scores of each pair of tokens of a frame."""
        call, cache, reduction, kept = self.call, self.cache, self.reduction, None
        softcap = kwargs.get("softcap")
        padded_rows = query.shape[2]
        if not call.plan.is_dense:
            query, key, value = (trim_rows(states, sum(call.counts)) for states in (query, key, value))
        if reduction is not None:
            tokens = None if mask is None else call.positions
            reduction.observe(self.number, query, key, scaling, mask, tokens, softcap)
        if cache is not None:
            if reduction is not None:
                # Merged rows stand for all their positions, in what frames attend to and in what is remembered.
                key, value = reduction.expand(key), reduction.expand(value)
            key, value = cache.update(key, value, self.number, call.plan)
            kept = cache.kept(self.number, call.plan, reduction)
            if call.observed is not None:
                cache.observe(call.observed_attention(query, key, scaling, kept, mask, softcap))
        output, weights = call.attend(
            module.attention, module, query, key, value, scaling=scaling, kept=kept, bias=mask, **kwargs
        )
        return pad_rows(output, padded_rows, dim=1), weights


class FrameParts(ReuseParts):
    """
    Where the parts of a model of transformers are, and what its head reads. Methods are given the base model.

    Attributes:
        embeddings, norm (`str`): where these are in the base model; `norm` is what comes behind the last layer, if
            anything.
        options (`tuple[str, ...]`): what the parent's `forward` takes beside pixels, and its embeddings too.
    """

    embeddings: ClassVar[str] = "embeddings"
    norm: ClassVar[str | None] = "layernorm"
    options: ClassVar[tuple[str, ...]] = ("bool_masked_pos", "interpolate_pos_encoding")

    def parent_inputs(self, base: Any, frames: torch.Tensor) -> dict[str, Any]:
        """How the parent's `forward` is handed frames, `(frames, channels, height, width)`."""
        return {"pixel_values": frames}

    def embed(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """What the first layer gets, `(frames, tokens, hidden_size)`."""
        embedded: torch.Tensor = base.get_submodule(self.embeddings)(frames, **options)
        return embedded

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor | None:
        """What of that is position and not content, `(1, patches, hidden_size)`, if that can be told."""
        embeddings = base.get_submodule(self.embeddings)
        positions: torch.Tensor = embeddings.position_embeddings
        prefix = positions.shape[1] - embeddings.patch_embeddings.num_patches
        # Parents that do not take the option fit positions to any size.
        if options.get("interpolate_pos_encoding", "interpolate_pos_encoding" not in self.options):
            rows, columns = self.grid(base, frames)
            like = positions.new_empty(1, prefix + rows * columns, positions.shape[-1])
            positions = embeddings.interpolate_pos_encoding(like, *frames.shape[-2:])
        return positions[:, prefix:]

    def layer_inputs(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> LayerInputs:
        """What layers get beside hidden states."""
        return lambda of_rows: {"attention_mask": None}

    def pool(self, base: Any, states: torch.Tensor) -> tuple[torch.Tensor | None, int]:
        """The parent's pooler output of states `(frames, tokens, hidden_size)`, and its multiply-adds per frame."""
        pooler = getattr(base, "pooler", None)
        return (None, 0) if pooler is None else (pooler(states), multiply_adds_of_row(pooler))

    def pool_reads(self, base: Any) -> int | None:
        """How many tokens in front of a frame `pool` reads; `None` for all tokens."""
        return None

    def reads(self, base: Any) -> int | None:
        """How many tokens in front of a frame the head reads; `None` for all tokens."""
        return 1

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """What the classifier is given, of states `(frames, tokens, hidden_size)`, of the tokens that it reads."""
        return states[:, 0]

    def unread(self, base: Any, tokens: int) -> int:
        """Multiply-adds per frame, of so many tokens, of what the parent's classifier computes and never reads."""
        return 0

    # What follows from the above.

    def grid(self, base: Any, frames: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.projection_of(base).kernel_size[-2:]
        return frames.shape[-2] // height, frames.shape[-1] // width

    def norm_of(self, base: Any) -> Any:
        """What comes behind the last layer."""
        return nn.Identity() if self.norm is None else base.get_submodule(self.norm)


class FrameModel(ReuseEncoder):
    """In front of a base model of transformers: goes through the frames of videos and reuses what did not change."""

    parts: ClassVar[FrameParts]
    cache_class: ClassVar[type[TemporalReuseCache]] = TemporalReuseCache

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        past_key_values: TemporalReuseCache | None = None,
        use_cache: bool | None = None,
        output_reuse_plan: bool = False,
        output_token_maps: bool = False,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
        thresholds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TemporalReuseModelOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, [frames,] channels, height, width)`): clips, or one frame of
                each stream; each batch row is a stream of its own.
            past_key_values: the cache that the previous frames of the same streams returned.
            use_cache (`bool`, *optional*): whether to return the cache; by default yes.
            output_reuse_plan (`bool`): whether to put the plans into `reuse.plan`.
            output_token_maps (`bool`): whether to put what became of every token into `reuse.maps`, for pictures.
            temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): settings of this call, not the config's.
            thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): that of each stream, above 0, in place of the
                one in the settings.
            kwargs: what the parent takes, for every frame, such as `bool_masked_pos` and `interpolate_pos_encoding`.
                With `attention_mask` every token is computed, and there is no cache; with `output_hidden_states` or
                `output_attentions` every token is computed.

        In training, and in mode "off", every token is computed by the parent's own code, and there is no cache.
        Methods of reduction work in mode "off" too, but not in training and not with a mask.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        encoded = self.encode_frames(
            pixel_values,
            past_key_values,
            use_cache,
            output_reuse_plan,
            output_token_maps,
            temporal_reuse,
            thresholds,
            **kwargs,
        )
        if encoded.pooler_output is None:
            states = encoded.last_hidden_state
            pooled, multiply_adds = self.parts.pool(self, states.flatten(0, -3))
            if pooled is not None:
                encoded.pooler_output = pooled.unflatten(0, states.shape[:-2])
                if encoded.reuse is not None:
                    encoded.reuse.add_head((states.shape[1] if states.dim() == 4 else 1) * multiply_adds)
        return encoded

    @torch.compiler.disable
    def encode_frames(
        self,
        pixel_values: torch.Tensor,
        past_key_values: TemporalReuseCache | None = None,
        use_cache: bool | None = None,
        output_reuse_plan: bool = False,
        output_token_maps: bool = False,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
        thresholds: torch.Tensor | None = None,
        reads: int | None = None,
        **kwargs: Any,
    ) -> TemporalReuseModelOutput:
        """
        The body of `forward`, without the pooler.

        Args:
            reads (`int`, *optional*): how many tokens in front the caller reads, so that the last layer need not
                compute the others, and `last_hidden_state` may then hold no more; `None` for all tokens.
            (others): as in `forward`.
        """
        # Shapes inside are (batch, frames, ...); single frames lose the second dimension on the way out.
        parts = self.parts
        video = as_video(pixel_values, self.config.num_channels)
        warn_of_slow_dtype(self)  # type: ignore[arg-type]
        settings = as_temporal_reuse_config(temporal_reuse or self.config.temporal_reuse)
        settings.validate_settings()
        settings = settings.in_force()
        recorded = ("output_attentions", "output_hidden_states")
        output_all = any(kwargs.get(name, getattr(self.config, name)) for name in recorded)
        is_plain = self.training or kwargs.get("attention_mask") is not None or output_all
        if thresholds is None and settings.skips_frames and video.shape[1] >= FEWEST and not is_plain:
            check_pixels(video)
            given = {"output_reuse_plan": output_reuse_plan, "output_token_maps": output_token_maps, "reads": reads}
            return encode_with_skipping(
                self.encode_frames,
                video,
                parts.grid(self, video),
                settings,
                past_key_values,
                use_cache,
                **given,
                **kwargs,
            )
        # What the parent takes for an image holds for every frame.
        options = {
            name: value.repeat_interleave(video.shape[1], 0) if isinstance(value, torch.Tensor) else value
            for name, value in ((name, kwargs.pop(name, None)) for name in parts.options)
            if value is not None
        }
        attention_mask = kwargs.pop("attention_mask", None)
        projection = self.get_submodule(parts.projection)  # type: ignore[attr-defined]
        frames = video.flatten(0, 1).to(dtype_of_inputs(projection, video.dtype))
        is_off = settings.mode == "off"
        grid = parts.grid(self, video)
        shape = self.config.model_shape(self.config.prefix_tokens + grid[0] * grid[1])
        active = settings.active_reductions(shape)
        if past_key_values is not None and (self.training or is_off or attention_mask is not None):
            reason = "training" if self.training else "mode 'off'" if is_off else "an attention mask"
            raise ValueError(f"past_key_values cannot be used with {reason}; leave it out.")
        if self.training or attention_mask is not None or (is_off and not active):
            if attention_mask is not None:
                kwargs["attention_mask"] = attention_mask.repeat_interleave(video.shape[1], 0)
            inputs = parts.parent_inputs(self, frames)
            output = super().forward(**inputs, **options, **kwargs, return_dict=True)  # type: ignore[misc]
            if pixel_values.dim() == 5:
                output = map_tensors(output, lambda tensor: tensor.unflatten(0, video.shape[:2]))
            return TemporalReuseModelOutput(**output)

        asks = active or options or output_all or output_reuse_plan or output_token_maps or kwargs
        if not asks and thresholds is None:
            captured = self._captured(video, past_key_values, settings, reads)
            if captured is not None:
                states: Any = captured.last_hidden_state
                captured.last_hidden_state = states[:, 0] if pixel_values.dim() == 4 else states
                if use_cache is not None and not use_cache:
                    captured.past_key_values = None
                return captured

        if active or getattr(past_key_values, "_last_layers", None) is not None:
            check_attention_takes_masks(self.config._attn_implementation, video.device.type)
        check_pixels(video)
        tokens = parts.embed(self, frames, options).unflatten(0, video.shape[:2])
        cache = self._cache_for(past_key_values, video, tokens, reads)
        planner = Planner(
            settings,
            grid=grid,
            prefix_tokens=self.config.prefix_tokens,
            compute_all=output_all,
            merges_frames=any(isinstance(method, FrameReduction) for method in active),
            positions=parts.positions(self, frames, options),
            thresholds=check_thresholds(thresholds, video.shape[0]),
        )
        work = _Work(
            outputs=None if output_all else reads,
            shape=shape,
            reductions=active,
            inputs=parts.layer_inputs(self, frames, options),
            output_token_maps=output_token_maps,
            record=kwargs,
        )
        output = self._run_streams(tokens, planner, cache, work)
        report = {name: part for name, part in output.reuse.items() if output_reuse_plan or name != "plan"}
        output = TemporalReuseModelOutput(**{name: part for name, part in output.items() if name != "reuse"})
        if pixel_values.dim() == 4:
            output = map_tensors(output, lambda tensor: tensor[:, 0])
        output.reuse = ReuseReport(**report)
        if not is_off and (use_cache is None or use_cache):
            output.past_key_values = cache
        return output

    def _run_streams(
        self, tokens: torch.Tensor, planner: Planner, cache: TemporalReuseCache, work: _Work
    ) -> TemporalReuseModelOutput:
        """Plans and runs all frames; `tokens` is `(batch, frames, tokens, hidden_size)`."""
        fresh = planner.is_fresh(cache.streams)
        if fresh is not None and len(set(fresh.tolist())) > 1:
            # Streams that just started need a first frame of their own; the others go on undisturbed.
            parts, groups = [], [fresh.nonzero().squeeze(-1), (~fresh).nonzero().squeeze(-1)]
            for streams in groups:
                part, own = cache.take(streams), planner.for_streams(streams)
                parts.append(self._run_streams(tokens[streams], own, part, work))
                cache.put(streams, part)
            order = torch.cat(groups).argsort()
            return map_tensors(concatenate_outputs(parts, dim=0), lambda tensor: tensor[order])

        layers = self.parts.layers_of(self)
        counter = CostCounter(self.parts.cost(self, tokens.shape[2] - planner.prefix_tokens), *tokens.shape[:3])
        mapper = TokenMapper(len(layers)) if work.output_token_maps else None
        of_layers = [method for method in work.reductions if isinstance(method, LayerReduction)]
        # Layer by layer, outputs are of whole frames.
        of_frames = [] if planner.compute_all else [one for one in work.reductions if isinstance(one, FrameReduction)]
        patches = tokens[:, :, planner.prefix_tokens :]
        outputs, start, spent = [], 0, NOTHING_SPENT
        while start < tokens.shape[1]:
            planned = plan = planner.plan(patches[:, start:], cache.streams, spent)
            spent = spent.after(planned)
            stop = start + plan.shape[1]
            rows, merged = tokens[:, start:stop].flatten(0, 1), None
            if of_frames:
                merged = merge_frames(of_frames, plan, rows.flatten(0, 1)[plan.rows], work.shape.protected)
                plan = merged.plan
            reduction = None
            if of_layers:
                reduction = RowReduction(
                    of_layers,
                    work.shape,
                    plan.row_counts,
                    tokens.device,
                    layers=len(layers) - (work.outputs is not None),
                    keep_last_states=work.outputs is None,
                )
            # Whole frames need no table where nothing is to be remembered.
            memory = None if planner.config.mode == "off" and plan.is_dense else cache
            calls = FrameCall.for_layers(plan, len(layers), work.outputs, reduction, attends_to_merged=memory is None)
            if not plan.is_dense:
                rows = (rows.flatten(0, 1)[plan.rows] if merged is None else merged.rows)[None]
                if self.row_buckets is not None and reduction is None:
                    rows = self.row_buckets.pad(rows)
            # A frame that stays as it was needs no row at all where there is no token in front.
            output = BaseModelOutput(last_hidden_state=rows)
            if rows.shape[1]:
                output = self._run_layers(rows, memory, calls, work.inputs, return_dict=True, **work.record)
            cache.remember_kept(plan, reduction)
            states: Any = output.last_hidden_state
            if reduction is not None and work.outputs is None:
                states = reduction.expand_last(states, self.parts.norm_of(self))
            if work.outputs is None:
                states = cache.update_output(states if plan.is_dense else trim_rows(states, len(plan.rows)), plan)
            elif not plan.is_dense:
                states = trim_rows(states[0], plan.shape[0] * plan.shape[1] * work.outputs)
                states = states.unflatten(0, (-1, work.outputs))
            output.last_hidden_state = states
            outputs.append(map_tensors(output, lambda tensor: tensor.unflatten(0, plan.shape[:2])))  # noqa: B023
            if mapper is not None:
                norms = planner.mean_norms(patches[:, start:stop])
                past = cache.streams.token_rows() if plan.has_past else ()
                mapper.add(plan, tokens[:, start:stop], norms, reduction, *past)
            observed = None if calls[0].observed is None else calls[0].observed.streams
            cache.streams = planner.remember(
                planned, patches[:, start:stop], cache.streams, observed, cache.take_attention()
            )
            counter.add(plan, calls, merged)
            start = stop
        report = counter.report()
        report.maps = None if mapper is None else mapper.maps()
        return TemporalReuseModelOutput(**concatenate_outputs(outputs, dim=1), reuse=report)

    def _captured(
        self, video: torch.Tensor, cache: Any, settings: TemporalReuseConfig, reads: int | None
    ) -> TemporalReuseModelOutput | None:
        """
        The next frame of streams, or new clips, in work of fixed shapes; `None` where that is for the usual way.
        """

        def planner(frames: torch.Tensor) -> Planner:
            grid, positions = self.parts.grid(self, frames), self.parts.positions(self, frames, {})
            return Planner(settings, grid, self.config.prefix_tokens, positions=positions)

        steps, clips = self.captured_steps, self.captured_clips
        if steps is None and clips is None:
            return None
        projection = self.get_submodule(self.parts.projection)  # type: ignore[attr-defined]
        frames = video.to(dtype_of_inputs(projection, video.dtype))
        if steps is not None and video.shape[1] == 1 and settings.mode == "causal":
            if not isinstance(cache, self.cache_class) or not cache.goes_on_plainly:
                return None
            cache.check_owner(
                model=type(self).__name__,
                batch_size=video.shape[0],
                resolution=f"{video.shape[-2]} x {video.shape[-1]}",
                outputs=outputs_read(reads),
                weights=steps.weights,
            )
            return steps.step(frames, settings, cache, reads, planner)
        if clips is not None and cache is None and video.shape[1] > 1 and settings.mode == "bidirectional":
            if settings.computes_everything:
                return None
            cache = self.cache_class(len(self.parts.layers_of(self)))
            output = clips.run(frames, settings, cache, reads, planner)
            if output is not None:
                self._cache_for(cache, video, output.last_hidden_state, reads, clips.weights)
            return output
        return None

    @capture_outputs(tie_last_hidden_states=False)
    def _run_layers(
        self,
        hidden_states: torch.Tensor,
        cache: TemporalReuseCache | None,
        calls: list[FrameCall],
        inputs: LayerInputs,
        **kwargs: Any,
    ) -> BaseModelOutput:
        layers = self.parts.layers_of(self)
        given, known = {}, None
        for number, (layer, call) in enumerate(zip(layers, calls)):
            if call is not known or call.reduction is not None:
                given, known = inputs(rows_of_tables(call, hidden_states)), call
            run = FrameRun(number, call.reduction, call, cache)
            with running(run):
                output = layer(hidden_states, run=run, **given, **kwargs)
            hidden_states = output[0] if isinstance(output, tuple) else output
        return BaseModelOutput(last_hidden_state=self.parts.norm_of(self)(hidden_states))

    def _cache_for(
        self,
        past_key_values: TemporalReuseCache | None,
        video: torch.Tensor,
        states: torch.Tensor,
        reads: int | None,
        weights: str | None = None,
    ) -> TemporalReuseCache:
        """The cache handed in, after a look at what it was filled with, or a new one; `states` are some of its own."""
        layers = len(self.parts.layers_of(self))
        if past_key_values is None:
            past_key_values = self.cache_class(layers)
        elif not isinstance(past_key_values, self.cache_class):
            raise ValueError(
                f"past_key_values is a {type(past_key_values).__name__}, but must be the {self.cache_class.__name__} "
                "that the previous frames returned."
            )
        past_key_values.check_owner(
            model=type(self).__name__,
            layers=layers,
            hidden_size=states.shape[-1],
            batch_size=video.shape[0],
            resolution=f"{video.shape[-2]} x {video.shape[-1]}",
            dtype=str(states.dtype).removeprefix("torch."),
            device=str(states.device),
            outputs=outputs_read(reads),
            weights=self.weights_digest() if weights is None else weights,
        )
        return past_key_values


@dataclass
class _Work:
    """What all plans of a call have in common; `record` is what is to be recorded of the layers."""

    outputs: int | None
    shape: ModelShape
    reductions: list[Reduction]
    inputs: LayerInputs
    output_token_maps: bool
    record: dict[str, Any]


def rows_of_tables(call: FrameCall, states: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What `LayerInputs` take, for the states that a layer gets; rows of padding have what token 0 has."""
    if call.positions is None:
        return None

    def of_rows(table: torch.Tensor) -> torch.Tensor:
        own = call.per_row(table)
        missing = states.shape[1] - own.shape[-2]
        return torch.cat([own, table[:1].expand(missing, -1)]) if missing else own

    return of_rows


class FrameClassifier(ReuseClassifier):
    """In front of an image classifier of transformers: classifies the frames of streams, one call after another."""

    encoder_class: ClassVar[type[FrameModel]]
    output_class: ClassVar[Any] = TemporalReuseImageClassifierOutput

    @property
    def reads(self) -> int | None:
        """How many tokens in front of a frame the head reads; `None` for all tokens."""
        encoder = self.video_encoder
        found: int | None = encoder.parts.reads(encoder)
        return found

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> TemporalReuseImageClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): one frame of each stream.
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): classes, for the loss.
            kwargs: as in the base model's `forward`.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        if pixel_values.dim() != 4:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, but an image classifier takes one frame of each "
                f"stream, (batch, channels, height, width); use {self._name_for_clips()} for clips."
            )
        logits, outputs = self.classify_frames(pixel_values, kwargs)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        output: TemporalReuseImageClassifierOutput = self.output_class(loss=loss, logits=logits, **outputs)
        return output

    def classify_frames(
        self, pixel_values: torch.Tensor, kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Logits of every frame, `(batch, [frames,] labels)`, and what else the output has."""
        encoder = self.video_encoder
        encoded = encoder.encode_frames(pixel_values, reads=self.reads, **kwargs)
        states = encoded.last_hidden_state
        # As the parent lays them out, or products in half precision are rounded differently.
        found, multiply_adds = self.head(states.flatten(0, -3))
        found = found if isinstance(found, dict) else {"logits": found}
        of_frames = {name: part.unflatten(0, states.shape[:-2]) for name, part in found.items()}
        logits = of_frames.pop("logits")
        if encoded.reuse is not None:
            rows, columns = encoder.parts.grid(encoder, pixel_values)
            unread = encoder.parts.unread(encoder, encoder.config.prefix_tokens + rows * columns)
            frames = logits.shape[1] if logits.dim() == 3 else 1
            encoded.reuse.add_head(frames * multiply_adds, frames * (multiply_adds + unread))
        names = ("hidden_states", "attentions", "past_key_values", "reuse")
        return logits, {**of_frames, **{name: getattr(encoded, name) for name in names}}

    def head(self, states: torch.Tensor) -> tuple[torch.Tensor | dict[str, torch.Tensor], int]:
        """
        Logits `(frames, labels)` of states `(frames, tokens, hidden_size)`, and their multiply-adds per frame.

        Where the output has those of several heads, they are by its names; `logits` are what the labels are for.
        """
        encoder = self.video_encoder
        return self.classifier(encoder.parts.read(encoder, states)), multiply_adds_of_row(self.classifier)

    def _name_for_clips(self) -> str:
        return type(self).__name__.replace("ForImage", "ForVideo")


class ClipClassifier(FrameClassifier):
    """The same for clips, frame by frame; a clip's logits are the mean of its frames'."""

    takes_clips: ClassVar[bool] = True
    output_class: ClassVar[Any] = TemporalReuseVideoClassifierOutput

    @can_return_tuple
    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> TemporalReuseVideoClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): a clip, or the next
                frames of a stream, per batch row.
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): classes of the clips, for the loss.
            kwargs: as in the base model's `forward`.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        if pixel_values.dim() != 5:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, but a video classifier takes clips of shape "
                "(batch, frames, channels, height, width)."
            )
        frame_logits, outputs = self.classify_frames(pixel_values, kwargs)
        logits = frame_logits.mean(1)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        output: TemporalReuseVideoClassifierOutput = self.output_class(
            loss=loss, logits=logits, frame_logits=frame_logits, **outputs
        )
        return output


def outputs_read(reads: int | None) -> str:
    """Of which tokens a cache remembers outputs."""
    return "of all tokens" if reads is None else "of the CLS tokens"


def check_pixels(video: torch.Tensor) -> None:
    """
    Raises:
        ValueError: if there are values that are not finite, which would stay in the cache; one sentence.
    """
    if not bool(torch.isfinite(video.sum(dtype=torch.float32))):
        raise ValueError("pixel_values holds NaN or infinite values; check how the frames were decoded and scaled.")


def as_video(pixel_values: torch.Tensor, channels: int) -> torch.Tensor:
    """
    Checks the input and returns it as `(batch, frames, channels, height, width)`.

    Raises:
        ValueError: if shape or number of channels is wrong.
    """
    if not isinstance(pixel_values, torch.Tensor) or pixel_values.dim() not in (4, 5):
        shape = tuple(getattr(pixel_values, "shape", ()))
        raise ValueError(
            f"pixel_values has shape {shape}, but must be (batch, channels, height, width) or "
            "(batch, frames, channels, height, width)."
        )
    video = pixel_values if pixel_values.dim() == 5 else pixel_values[:, None]
    if video.shape[2] != channels:
        raise ValueError(
            f"pixel_values has shape {tuple(pixel_values.shape)}, with {video.shape[2]} channels, but the model takes "
            f"{channels}."
        )
    if 0 in video.shape:
        raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}, but needs at least one frame.")
    return video
