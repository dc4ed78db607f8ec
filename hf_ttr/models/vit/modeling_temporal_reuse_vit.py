"""ViT with temporal token reuse: the parent's classes, with the plan, the cache and the packed rows wired in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import ViTForImageClassification, ViTModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer, ViTPreTrainedModel, eager_attention_forward
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from ...cache import TemporalReuseCache
from ...checks import check_attention_takes_masks
from ...configuration import TemporalReuseConfig, as_temporal_reuse_config
from ...fingerprint import WeightsFingerprint
from ...flops import CostCounter, ReuseReport, TransformerCost
from ...kernels.row_buckets import RowBuckets, pad_rows, trim_rows
from ...linear import dtype_of_inputs, few_rows_linear, warn_of_slow_dtype
from ...modeling_outputs import (
    TemporalReuseImageClassifierOutput,
    TemporalReuseModelOutput,
    TemporalReuseVideoClassifierOutput,
    concatenate_outputs,
    map_tensors,
)
from ...packed import FrameCall, packed_attention
from ...packed_weights import PackedWeights
from ...planning.planner import Planner
from ...planning.price import check_thresholds
from ...reduction.base import FrameReduction, LayerReduction, ModelShape, Reduction
from ...reduction.frame_merging import merge_frames
from ...reduction.row_reduction import RowReduction
from ...remote_code import StaysInPackage
from ...token_maps import TokenMapper
from .configuration_temporal_reuse_vit import TemporalReuseViTConfig


# Old ViT checkpoints use other key names; a subclass that does not register them loads with random weights.
register_checkpoint_conversion_mapping(
    "TemporalReuseViTModel", get_checkpoint_conversion_mapping("ViTModel"), overwrite=True
)


class TemporalReuseViTAttention(ViTAttention):
    """The parent's attention, whose keys and values come from the cache's `update`."""

    layer_idx: int

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: TemporalReuseCache | None = None,
        call: FrameCall | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states (`torch.Tensor`): `(frames, tokens, hidden_size)`, or packed `(1, rows, hidden_size)`.
            attention_mask: for the parent; never with a call.
            past_key_values: the cache; `None` where nothing is to be remembered.
            call: the layer's part in the call; without it this is the parent.
            kwargs: handed on to the attention function.

        Returns:
            The output for the rows that `call` asks for, and the attention weights where whole frames were computed by
            an implementation that returns them.
        """
        if call is None:
            return super().forward(hidden_states, attention_mask, **kwargs)

        query_rows = call.select_outputs(hidden_states)
        with call.linear:
            states = self.q_proj(query_rows), self.k_proj(hidden_states), self.v_proj(hidden_states)
        query, key, value = (rows.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for rows in states)
        output, weights = self.attend(query, key, value, past_key_values, call, **kwargs)
        with call.linear:
            return self.o_proj(output.flatten(-2)), weights

    @torch.compiler.disable
    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        past_key_values: TemporalReuseCache | None,
        call: FrameCall,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Where rows meet, which compiled code leaves alone; as `packed_attention`, with padding allowed."""
        padded_rows, reduction, kept = query.shape[2], call.reduction, None
        if not call.plan.is_dense:
            query, key, value = (trim_rows(states, sum(call.counts)) for states in (query, key, value))
        if reduction is not None:
            reduction.observe(self.layer_idx, query, key, self.scaling)
        if past_key_values is not None:
            if reduction is not None:
                # Merged rows stand for all their positions, in what frames attend to and in what is remembered.
                key, value = reduction.expand(key), reduction.expand(value)
            key, value = past_key_values.update(key, value, self.layer_idx, call.plan)
            kept = past_key_values.kept(self.layer_idx, call.plan, reduction)
            if call.observed_frames is not None:
                past_key_values.observe(call.observed_attention(query, key, self.scaling, kept))
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, weights = packed_attention(
            attention, self, query, key, value, call, kept=kept, dropout=0.0, scaling=self.scaling, **kwargs
        )
        return pad_rows(output, padded_rows, dim=1), weights


class TemporalReuseViTLayer(ViTLayer):
    """The parent's layer, with the products for few rows, and able to compute outputs for the CLS rows alone."""

    attention: TemporalReuseViTAttention

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        call: FrameCall | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Same shapes as `TemporalReuseViTAttention.forward`."""
        if call is None:
            return super().forward(hidden_states, attention_mask, **kwargs)
        residual = call.select_outputs(hidden_states)
        output, _ = self.attention(self.layernorm_before(hidden_states), call=call, **kwargs)
        residual = residual + output
        if call.reduction is not None:
            residual = call.reduction.reduce(self.attention.layer_idx, residual)
        with call.linear:
            return residual + self.mlp(self.layernorm_after(residual))


class TemporalReuseViTPreTrainedModel(StaysInPackage, ViTPreTrainedModel):
    """What all ViT models with reuse share."""

    config: TemporalReuseViTConfig
    input_modalities = ("image", "video")  # type: ignore[assignment]
    _no_split_modules = ["ViTEmbeddings", "TemporalReuseViTLayer"]
    # Which rows are computed depends on the data.
    _can_compile_fullgraph = False


class TemporalReuseViTModel(TemporalReuseViTPreTrainedModel, ViTModel):
    """
    A bare ViT that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
        add_pooling_layer, use_mask_token (`bool`): as in `ViTModel`.
    """

    def __init__(
        self, config: TemporalReuseViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False
    ) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer, use_mask_token=use_mask_token)
        # A setting that came with the checkpoint's name was put into the config after that was made.
        as_temporal_reuse_config(config.temporal_reuse).active_reductions(config.model_shape())
        # Layers are built by the parent and change class in place: what the parent did to them stays.
        for index, layer in enumerate(self.layers):
            layer.__class__ = TemporalReuseViTLayer
            layer.attention.__class__ = TemporalReuseViTAttention
            layer.attention.layer_idx = index
        self._fingerprint = WeightsFingerprint()
        self.packed_weights: PackedWeights | None = None
        self.row_buckets: RowBuckets | None = None

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.BoolTensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: torch.Tensor | None = None,
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
            bool_masked_pos, interpolate_pos_encoding: as in `ViTModel`, for every frame.
            attention_mask: as in `ViTModel`, for every frame; every token is then computed, and there is no cache.
            past_key_values: the cache that the previous frames of the same streams returned.
            use_cache (`bool`, *optional*): whether to return the cache; by default yes.
            output_reuse_plan (`bool`): whether to put the plans into `reuse.plan`.
            output_token_maps (`bool`): whether to put what became of every token into `reuse.maps`, for pictures.
            temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): settings of this call, not the config's.
            thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): that of each stream, above 0, in place of the
                one in the settings.
            kwargs: `output_hidden_states`, `output_attentions` (for which every token is computed), `return_dict`.

        In training, and in mode "off", every token is computed by the parent's own code, and there is no cache.
        Methods of reduction work in mode "off" too, but not in training and not with a mask.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        encoded = self.encode_frames(
            pixel_values,
            bool_masked_pos=bool_masked_pos,
            interpolate_pos_encoding=interpolate_pos_encoding,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_reuse_plan=output_reuse_plan,
            output_token_maps=output_token_maps,
            temporal_reuse=temporal_reuse,
            thresholds=thresholds,
            **kwargs,
        )
        if encoded.pooler_output is None and self.pooler is not None:
            states = encoded.last_hidden_state
            encoded.pooler_output = self.pooler(states.flatten(0, -3)).unflatten(0, states.shape[:-2])
            if encoded.reuse is not None:
                frames = states.shape[1] if states.dim() == 4 else 1
                dense = self.pooler.dense
                encoded.reuse.add_head(frames * dense.in_features * dense.out_features)
        return encoded

    @torch.compiler.disable
    def encode_frames(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.BoolTensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: TemporalReuseCache | None = None,
        use_cache: bool | None = None,
        output_reuse_plan: bool = False,
        output_token_maps: bool = False,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
        thresholds: torch.Tensor | None = None,
        first_tokens_only: bool = False,
        **kwargs: Any,
    ) -> TemporalReuseModelOutput:
        """
        The body of `forward`, without the pooler.

        Args:
            first_tokens_only (`bool`): whether the caller reads the CLS tokens alone, so that the last layer need not
                compute the others; `last_hidden_state` may then hold nothing but the CLS tokens.
            (others): as in `forward`.
        """
        # Shapes inside are (batch, frames, ...); single frames lose the second dimension on the way out.
        video = _as_video(pixel_values, self.config.num_channels)
        warn_of_slow_dtype(self)
        settings = as_temporal_reuse_config(temporal_reuse or self.config.temporal_reuse)
        settings.validate_settings()
        patch_height, patch_width = self.embeddings.patch_embeddings.patch_size
        embedding_options = {
            "bool_masked_pos": None
            if bool_masked_pos is None
            else bool_masked_pos.repeat_interleave(video.shape[1], 0),
            "interpolate_pos_encoding": bool(interpolate_pos_encoding),
        }
        is_off = settings.mode == "off"
        tokens_of_frame = 1 + (video.shape[-2] // patch_height) * (video.shape[-1] // patch_width)
        shape = self.config.model_shape(tokens_of_frame)
        active = settings.active_reductions(shape)
        if past_key_values is not None and (self.training or is_off or attention_mask is not None):
            reason = "training" if self.training else "mode 'off'" if is_off else "an attention mask"
            raise ValueError(f"past_key_values cannot be used with {reason}; leave it out.")
        if self.training or attention_mask is not None or (is_off and not active):
            if attention_mask is not None:
                attention_mask = attention_mask.repeat_interleave(video.shape[1], 0)
            output = super().forward(
                video.flatten(0, 1), attention_mask=attention_mask, **embedding_options, **kwargs, return_dict=True
            )
            if pixel_values.dim() == 5:
                output = map_tensors(output, lambda tensor: tensor.unflatten(0, video.shape[:2]))
            return TemporalReuseModelOutput(**output)

        if active or getattr(past_key_values, "_last_layers", None) is not None:
            check_attention_takes_masks(self.config._attn_implementation, video.device.type)
        if not bool(torch.isfinite(video.sum(dtype=torch.float32))):
            raise ValueError(
                "pixel_values holds NaN or infinite values; check how the frames were decoded and scaled."
            )
        output_attentions = bool(kwargs.get("output_attentions", self.config.output_attentions))
        output_all = output_attentions or bool(kwargs.get("output_hidden_states", self.config.output_hidden_states))
        dtype = dtype_of_inputs(self.embeddings.patch_embeddings.projection, video.dtype)
        tokens = self.embeddings(video.flatten(0, 1).to(dtype), **embedding_options).unflatten(0, video.shape[:2])
        cache = self._cache_for(past_key_values, video, tokens, first_tokens_only)
        planner = Planner(
            settings,
            grid=(video.shape[-2] // patch_height, video.shape[-1] // patch_width),
            compute_all=output_all,
            positions=self._patch_positions(tokens, video, bool(interpolate_pos_encoding)),
            thresholds=check_thresholds(thresholds, video.shape[0]),
        )
        only_first = first_tokens_only and not output_all
        output = self._run_streams(tokens, planner, cache, only_first, shape, active, output_token_maps, **kwargs)
        report = {name: part for name, part in output.reuse.items() if output_reuse_plan or name != "plan"}
        output = TemporalReuseModelOutput(**{name: part for name, part in output.items() if name != "reuse"})
        if pixel_values.dim() == 4:
            output = map_tensors(output, lambda tensor: tensor[:, 0])
        output.reuse = ReuseReport(**report)
        if not is_off and (use_cache is None or use_cache):
            output.past_key_values = cache
        return output

    def _run_streams(
        self,
        tokens: torch.Tensor,
        planner: Planner,
        cache: TemporalReuseCache,
        first_tokens_only: bool,
        shape: ModelShape,
        reductions: list[Reduction],
        output_token_maps: bool,
        **kwargs: Any,
    ) -> TemporalReuseModelOutput:
        """Plans and runs all frames; `tokens` is `(batch, frames, tokens, hidden_size)`."""
        fresh = planner.is_fresh(cache.streams)
        if fresh is not None and bool(fresh.any()) and not bool(fresh.all()):
            # Streams that just started need a first frame of their own; the others go on undisturbed.
            parts, groups = [], [fresh.nonzero().squeeze(-1), (~fresh).nonzero().squeeze(-1)]
            for streams in groups:
                part, own = cache.take(streams), planner.for_streams(streams)
                settings = (first_tokens_only, shape, reductions, output_token_maps)
                parts.append(self._run_streams(tokens[streams], own, part, *settings, **kwargs))
                cache.put(streams, part)
            order = torch.cat(groups).argsort()
            return map_tensors(concatenate_outputs(parts, dim=0), lambda tensor: tensor[order])

        counter = CostCounter(TransformerCost.of_vit(self.config, tokens.shape[2]), *tokens.shape[:3])
        of_layers = [method for method in reductions if isinstance(method, LayerReduction)]
        # Layer by layer, outputs are of whole frames.
        of_frames = [method for method in reductions if isinstance(method, FrameReduction) and not planner.compute_all]
        mapper = TokenMapper(len(self.layers)) if output_token_maps else None
        patches = tokens[:, :, 1:]
        outputs, start = [], 0
        while start < tokens.shape[1]:
            planned = plan = planner.plan(patches[:, start:], cache.streams)
            stop = start + plan.shape[1]
            rows, merged = tokens[:, start:stop].flatten(0, 1), None
            if of_frames:
                merged = merge_frames(of_frames, plan, rows.flatten(0, 1)[plan.rows], shape.protected)
                plan = merged.plan
            reduction = None
            if of_layers:
                reducing = len(self.layers) - first_tokens_only
                reduction = RowReduction(
                    of_layers,
                    shape,
                    plan.row_counts,
                    tokens.device,
                    layers=reducing,
                    keep_last_states=not first_tokens_only,
                )
            linear = few_rows_linear(self.layers, self.packed_weights)
            # Whole frames need no table where nothing is to be remembered.
            memory = None if planner.config.mode == "off" and plan.is_dense else cache
            calls = FrameCall.for_layers(
                plan, len(self.layers), first_tokens_only, linear, reduction, attends_to_merged=memory is None
            )
            if not plan.is_dense:
                rows = (rows.flatten(0, 1)[plan.rows] if merged is None else merged.rows)[None]
                if self.row_buckets is not None and reduction is None:
                    rows = self.row_buckets.pad(rows)
            output = self._run_layers(rows, memory, calls, return_dict=True, **kwargs)
            cache.remember_kept(plan, reduction)
            states = output.last_hidden_state
            if reduction is not None and not first_tokens_only:
                states = reduction.expand_last(states, self.layernorm)
            if not plan.is_dense:
                states = trim_rows(states, len(plan.rows))
            if not first_tokens_only:
                states = cache.update_output(states, plan)
            elif not plan.is_dense:
                states = states.transpose(0, 1)
            output.last_hidden_state = states
            outputs.append(map_tensors(output, lambda tensor: tensor.unflatten(0, plan.shape[:2])))  # noqa: B023
            if mapper is not None:
                scale = planner.scale(patches[:, start:], cache.streams)
                past = cache.streams.token_rows() if plan.has_past else ()
                mapper.add(plan, tokens[:, start:stop], scale, reduction, *past)
            cache.streams = planner.remember(
                planned, patches[:, start:stop], cache.streams, calls[0].observed_streams, cache.take_attention()
            )
            counter.add(plan, calls, merged)
            start = stop
        report = counter.report()
        report.maps = None if mapper is None else mapper.maps()
        return TemporalReuseModelOutput(**concatenate_outputs(outputs, dim=1), reuse=report)

    @capture_outputs(tie_last_hidden_states=False)
    def _run_layers(
        self, hidden_states: torch.Tensor, cache: TemporalReuseCache | None, calls: list[FrameCall], **kwargs: Any
    ) -> BaseModelOutput:
        for layer, call in zip(self.layers, calls):
            hidden_states = layer(hidden_states, None, past_key_values=cache, call=call, **kwargs)
        return BaseModelOutput(last_hidden_state=self.layernorm(hidden_states))

    def _patch_positions(self, tokens: torch.Tensor, video: torch.Tensor, interpolate: bool) -> torch.Tensor:
        """What the embeddings added to the patches of a frame, shape `(1, patches, hidden_size)`."""
        if interpolate:
            height, width = video.shape[-2:]
            return self.embeddings.interpolate_pos_encoding(tokens[:, 0], height, width)[:, 1:]
        return self.embeddings.position_embeddings[:, 1:]

    def _cache_for(
        self,
        past_key_values: TemporalReuseCache | None,
        video: torch.Tensor,
        tokens: torch.Tensor,
        first_tokens_only: bool,
    ) -> TemporalReuseCache:
        """The cache handed in, after a look at what it was filled with, or a new one."""
        if past_key_values is None:
            past_key_values = TemporalReuseCache(self.config.num_hidden_layers)
        elif not isinstance(past_key_values, TemporalReuseCache):
            raise ValueError(
                f"past_key_values is a {type(past_key_values).__name__}, but must be the TemporalReuseCache that the "
                "previous frames returned."
            )
        weights = self._fingerprint.of(self)
        if self.packed_weights is not None:
            self.packed_weights.belong_to(weights)
        past_key_values.check_owner(
            model=type(self).__name__,
            layers=self.config.num_hidden_layers,
            hidden_size=self.config.hidden_size,
            batch_size=video.shape[0],
            resolution=f"{video.shape[-2]} x {video.shape[-1]}",
            dtype=str(tokens.dtype).removeprefix("torch."),
            device=str(tokens.device),
            outputs="of the CLS tokens" if first_tokens_only else "of all tokens",
            weights=weights,
        )
        return past_key_values


class TemporalReuseViTForImageClassification(TemporalReuseViTPreTrainedModel, ViTForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
    """

    def __init__(self, config: TemporalReuseViTConfig) -> None:
        super(ViTForImageClassification, self).__init__(config)
        self.num_labels = config.num_labels or 0
        self.vit = TemporalReuseViTModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels) if self.num_labels else nn.Identity()
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> TemporalReuseImageClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): one frame of each stream.
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): classes, for the loss.
            kwargs: as in `TemporalReuseViTModel.forward`.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        if pixel_values.dim() != 4:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, but an image classifier takes one frame of each "
                "stream, (batch, channels, height, width); use TemporalReuseViTForVideoClassification for clips."
            )
        logits, outputs = _classify_frames(self, pixel_values, kwargs)
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config)
        return TemporalReuseImageClassifierOutput(loss=loss, logits=logits, **outputs)


class TemporalReuseViTForVideoClassification(TemporalReuseViTPreTrainedModel, ViTForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
    """

    __init__ = TemporalReuseViTForImageClassification.__init__

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> TemporalReuseVideoClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): a clip, or the next
                frames of a stream, per batch row.
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): classes of the clips, for the loss.
            kwargs: as in `TemporalReuseViTModel.forward`.

        Raises:
            ValueError: if the input or the cache does not fit; one sentence.
        """
        if pixel_values.dim() != 5:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, but a video classifier takes clips of shape "
                "(batch, frames, channels, height, width)."
            )
        frame_logits, outputs = _classify_frames(self, pixel_values, kwargs)
        logits = frame_logits.mean(1)
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config)
        return TemporalReuseVideoClassifierOutput(loss=loss, logits=logits, frame_logits=frame_logits, **outputs)


def _classify_frames(
    model: TemporalReuseViTForImageClassification | TemporalReuseViTForVideoClassification,
    pixel_values: torch.Tensor,
    kwargs: dict[str, Any],
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Logits of every frame, `(batch, [frames,] labels)`, and what else both heads return."""
    encoded = model.vit.encode_frames(pixel_values, first_tokens_only=True, **kwargs)
    states = encoded.last_hidden_state
    # As the parent lays them out, or products in half precision are rounded differently.
    logits = model.classifier(states.flatten(0, -3)[:, 0]).unflatten(0, states.shape[:-2])
    if encoded.reuse is not None and isinstance(model.classifier, nn.Linear):
        frames = logits.shape[1] if logits.dim() == 3 else 1
        encoded.reuse.add_head(frames * model.classifier.in_features * model.classifier.out_features)
    return logits, {
        "hidden_states": encoded.hidden_states,
        "attentions": encoded.attentions,
        "past_key_values": encoded.past_key_values,
        "reuse": encoded.reuse,
    }


def _as_video(pixel_values: torch.Tensor, channels: int) -> torch.Tensor:
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


__all__ = [
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
    "TemporalReuseViTPreTrainedModel",
]
