"""Models in which all tokens of a window attend to one another: what those of all families share."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from ..caching.cache import ReuseCache
from ..caching.window_cache import TemporalReuseWindowCache
from ..checks import check_attention_takes_masks
from ..configuration import TemporalReuseConfig, as_temporal_reuse_config
from ..execution.compact import ReducedRows, compact_attention
from ..execution.flops import ReuseReport, multiply_adds_of_row, window_report
from ..execution.kernels.row_buckets import pad_rows, trim_rows
from ..execution.linear import dtype_of_inputs, warn_of_slow_dtype
from ..execution.token_maps import TokenMapper
from ..modeling_outputs import TemporalReuseModelOutput, TemporalReuseVideoClassifierOutput
from ..planning.price import check_thresholds
from ..planning.window_plan import WindowPlan, with_prefix
from ..planning.window_planner import WindowPlanner
from ..planning.window_state import WindowState
from ..reduction.base import LayerReduction, Reduction, WindowReduction
from ..reduction.contract import sources_of
from ..reduction.row_reduction import RowReduction
from .attending import LayerRun, running
from .register import parent_of
from .reuse_model import ReuseClassifier, ReuseEncoder, ReuseParts


logger = logging.get_logger(__name__)


@dataclass
class WindowRun(LayerRun):
    """
    A layer of a call in which all tokens of a window attend to one another.

    Attributes:
        plan (`WindowPlan`): the plan of the call.
        cache (`TemporalReuseWindowCache`, *optional*): `None` where nothing is to be remembered.
        outputs (`int`, *optional*): how many tokens in front of each stream outputs are wanted for; `None` for all.
        key_sets (`int`): how often rows meet in a layer, which leaves as many sets of keys and values in the cache.
        has_kernel (`bool`): whether they meet as rows of frames do, for which there is a kernel on GPUs.
    """

    plan: WindowPlan
    cache: TemporalReuseWindowCache | None
    outputs: int | None = None
    key_sets: ClassVar[int] = 1
    has_kernel: ClassVar[bool] = False

    @classmethod
    def for_layers(
        cls,
        layers: int,
        reduction: RowReduction | None,
        plan: WindowPlan,
        cache: TemporalReuseWindowCache | None,
        outputs: int | None = None,
    ) -> list[Any]:
        """A run for each layer; with `outputs` the last one computes outputs for so many tokens in front alone."""
        wanted = [*[None] * (layers - 1), outputs]
        return [cls(number, reduction, plan, cache, own) for number, own in enumerate(wanted)]

    @property
    def pairs(self) -> list[int] | None:
        """See `window_report`."""
        return None

    @property
    def selects(self) -> bool:
        """See `LayerRun.selects`."""
        return self.outputs is not None

    def select(self, states: torch.Tensor) -> torch.Tensor:
        """See `LayerRun.select`."""
        if self.outputs is None:
            return states
        if self.plan.is_dense:
            return states[:, : self.outputs]
        counts = self.plan.row_counts if self.reduction is None else self.reduction.sets.counts
        last = torch.tensor(counts, device=states.device).cumsum(0)
        first = torch.nn.functional.pad(last, (1, -1))[:, None]
        return states[:, (first + torch.arange(self.outputs, device=states.device)).flatten()]

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
        """See `LayerRun.attend`; rows are whole windows, or the computed rows of all streams."""
        plan, cache, reduction = self.plan, self.cache, self.reduction
        padded_rows, reduced, kept = query.shape[2], None, None
        if not plan.is_dense:
            query, key, value = (trim_rows(states, len(plan.rows)) for states in (query, key, value))
        own, live = self._slots(len(key)) if module.positions_are_relative else (None, None)
        query = module.place(query, own)
        if reduction is not None:
            reduced = ReducedRows(reduction, module.place(key, own), value)
            reduction.observe(self.number, query, reduced.keys, scaling, softcap=kwargs.get("softcap"))
        if cache is not None:
            if reduction is not None:
                # Merged rows stand for all their slots, in what other rows attend to and in what is remembered.
                key, value = reduction.expand(key), reduction.expand(value)
            key, value = cache.update(key, value, self.number, plan)
            kept = cache.kept(self.number, plan, reduction)
        if reduced is None or not plan.is_dense:
            key = module.place(key, live)
        output, weights = compact_attention(
            module.attention, module, query, key, value, plan, reduced, kept, self.outputs, scaling=scaling, **kwargs
        )
        return pad_rows(output, padded_rows, dim=1), weights

    def _slots(self, layout: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The slots of the rows that are left, and of the live ones, as `ReuseAttention.place` takes them."""
        plan, origin = self.plan, None if self.reduction is None else self.reduction.origin
        own = live = None
        if not plan.is_dense:
            own, live = plan.row_slots[None], plan.live_row_slots[None]
        if origin is not None:
            own = plan.row_slots[origin].unflatten(0, (layout, -1))
        return own, live


@dataclass
class EncodedWindow:
    """
    A window that went through the encoder with reuse.

    Attributes:
        plan (`WindowPlan`): what was computed.
        states (`torch.Tensor` of shape `(live, hidden_size)`): last hidden states of the live rows of all streams; or
            of the tokens in front alone, `(batch, outputs, hidden_size)`, where the head reads nothing else.
        kept (`torch.BoolTensor` of shape `(live,)`, *optional*): which of them were never left out; `None` for all.
        layers (`BaseModelOutput`): what was recorded on the way.
        cache (`TemporalReuseWindowCache`, *optional*): for the next window; `None` in mode "off".
        report (`ReuseReport`): what it cost.
    """

    plan: WindowPlan
    states: torch.Tensor
    kept: torch.Tensor | None
    layers: BaseModelOutput
    cache: TemporalReuseWindowCache | None
    report: ReuseReport

    @property
    def counts(self) -> torch.Tensor:
        """How often each live row is used, `(live,)`; 0 where it was left out."""
        return self.plan.counts if self.kept is None else self.plan.counts * self.kept

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.plan.tokens

    @property
    def row_counts(self) -> list[int]:
        """How many rows of each stream stand for something, and were not left out."""
        if self.kept is None:
            return self.plan.live_counts
        return [int(kept.sum()) for kept in self.kept.split(self.plan.live_counts)]

    def every_token(self) -> torch.Tensor:
        """Last hidden states of every token, `(batch, tokens, hidden_size)`."""
        left, right = (self.states[index.flatten(1)] for index in self.plan.live_slots)
        slots = torch.lerp(left, right, self.plan.alpha.flatten(1)[..., None].to(left.dtype))
        return torch.cat([self.states[self.plan.live_prefix], slots], dim=1) if self.plan.prefix else slots

    def first_token(self) -> torch.Tensor:
        """Last hidden state of the first token, `(batch, hidden_size)`."""
        if self.states.dim() == 3:
            return self.states[:, 0]
        return self.states[self.plan.live_prefix[:, 0] if self.plan.prefix else self.plan.live_slots[0][:, 0, 0]]

    def mean_token(self) -> torch.Tensor:
        """
        Mean of the last hidden states of all tokens, `(batch, hidden_size)`: a row counts as often as it is used, and
        not at all where it was left out.
        """
        if self.plan.is_dense and self.kept is None:
            return self.states.unflatten(0, (self.plan.shape[0], -1)).mean(1)
        means = []
        for states, own in zip(self.states.split(self.plan.live_counts), self.counts.split(self.plan.live_counts)):
            total = self.plan.tokens if self.kept is None else own.sum()
            means.append(((own / total).to(states.dtype)[:, None] * states).sum(0))
        return torch.stack(means)


class WindowParts(ReuseParts):
    """
    Where the parts of a model of transformers are, and what its head reads. Methods are given the base model.

    Attributes:
        norm (`str`): where what comes behind the last layer is in the base model, if anything.
        pixels (`str`): what the parent's `forward` calls its input.
        choices (`dict[str, Any]`): what else the parent's `forward` takes, and what that has to be for tokens to be
            reused. With anything else but `None` the parent's own code runs, and there is no cache.
        run_class: how rows meet in a layer; by default all of a window at once.
        has_steps (`bool`): whether windows of a stream may go on in steps of fixed shapes (`CapturedWindows`): there
            are no tokens in front, rows meet all at once, positions are not relative, and what a head reads is a token
            or the mean of all.
        position_by_position (`bool`): whether the parent's slots are ordered by position, then by time.
    """

    norm: ClassVar[str] = "layernorm"
    pixels: ClassVar[str] = "pixel_values"
    choices: ClassVar[dict[str, Any]] = {}
    run_class: ClassVar[type[WindowRun]] = WindowRun
    position_by_position: ClassVar[bool] = False
    has_steps: ClassVar[bool] = False

    def prefix(self, base: Any) -> torch.Tensor | None:
        """What the first layer gets of the tokens in front, `(1, prefix, hidden_size)`, if there are any."""
        return None

    def positions(self, base: Any) -> torch.Tensor | None:
        """What is added to the patch embeddings, `(1, slots, hidden_size)`, if anything."""
        return None

    def further(self, base: Any, states: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """What else the parent makes of states `(batch, tokens, hidden_size)`, and its multiply-adds per stream."""
        pooler = getattr(base, "pooler", None)
        return ({}, 0) if pooler is None else ({"pooler_output": pooler(states)}, multiply_adds_of_row(pooler))

    def reads(self, base: Any) -> int | None:
        """How many tokens in front of the slots the head reads; `None` where it reads others."""
        return None

    def first_is_read(self, base: Any) -> bool:
        """Whether the head reads the first slot."""
        return False

    # What follows from the above.

    def norm_of(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """Hidden states after what comes behind the last layer."""
        norm = attrgetter(self.norm)(base)
        return states if norm is None else norm(states)

    def in_parents_order(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """Hidden states, `(batch, tokens, hidden_size)`, out of those ordered by time and position."""
        if not self.position_by_position:
            return states
        config = base.config
        front, slots = states.tensor_split([config.prefix_tokens], dim=1)
        slots = slots.unflatten(1, (config.window_frames // config.tubelet_frames, -1))
        return torch.cat([front, slots.transpose(1, 2).flatten(1, 2)], dim=1)

    def tubelet(self, base: Any) -> tuple[int, int, int]:
        """Frames, height and width of what becomes a token."""
        # A convolution of two dimensions makes tokens of single frames.
        *frames, height, width = self.projection_of(base).kernel_size
        return frames[0] if frames else 1, height, width


class TakesWindows(ReuseEncoder):
    """In front of a base model of transformers that is handed windows of frames: what it takes and gives."""

    output_class: ClassVar[type[Any]] = TemporalReuseModelOutput
    main_input_name = "pixel_values"
    # How often a row counts is added to the logits, which these kernels cannot.
    _supports_flash_attn = False

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        past_key_values: TemporalReuseWindowCache | None = None,
        use_cache: bool | None = None,
        stride: int | None = None,
        output_reuse_plan: bool = False,
        output_token_maps: bool = False,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
        thresholds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TemporalReuseModelOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): a clip, or the next
                window of a stream, per batch row. Fewer frames than the model takes are followed by copies of the
                last one. The name that the parent has for it is taken as well.
            past_key_values: the cache that the previous window of the same streams returned.
            use_cache (`bool`, *optional*): whether to return the cache; by default yes.
            stride (`int`, *optional*): number of frames by which this window is ahead of the previous one. Where it is
                a multiple of the tubelet, embeddings of frames already seen are used again, with the same result; and
                in a model that looks at frames one by one first, or with `sliding` where positions are relative,
                whatever the last window has of these frames.
            output_reuse_plan (`bool`): whether to put the plan into `reuse.plan`.
            output_token_maps (`bool`): whether to put what became of every token into `reuse.maps`, for pictures.
            temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): settings of this call, not the config's.
            thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): that of each stream, above 0, in place of the
                one in the settings.
            kwargs: `output_hidden_states`, `output_attentions` (for which every token is computed), `return_dict`; and
                what the parent takes beside pixels, such as masks: its own code then runs, without a cache.

        In training, and in mode "off", every token is computed by the parent's own code, and there is no cache.

        Raises:
            TypeError: for any other keyword.
            ValueError: if the input or the cache does not fit; one sentence.
        """
        pixel_values = kwargs.pop(self.parts.pixels, pixel_values)
        choices = {name: kwargs.pop(name) for name in self.parts.choices if kwargs.get(name) is not None}
        others = [name for name, value in choices.items() if value is not self.parts.choices[name]]
        _refuse_unknown(kwargs, self.config.parent_name)
        pixel_values = self.check_window(pixel_values)
        settings = self.reuse_settings(temporal_reuse)
        if others or not self.reuses(settings):
            self.refuse_cache(past_key_values, stride, *others)
            parent: Any = parent_of(type(self))  # type: ignore[arg-type]
            return self.output_class(**parent.forward(self, pixel_values, **choices, **kwargs, return_dict=True))
        encoded = self.encode_window(
            pixel_values, settings, past_key_values, stride, output_token_maps, thresholds, **kwargs
        )
        states = self.last_states(encoded)
        further, multiply_adds = self.parts.further(self, states)
        encoded.report.add_head(multiply_adds)
        return self.output_class(
            **{**encoded.layers, **further, "last_hidden_state": states},
            **_reuse_outputs(encoded, use_cache, output_reuse_plan),
        )

    def encode_window(
        self,
        pixel_values: torch.Tensor,
        settings: TemporalReuseConfig,
        past_key_values: Any = None,
        stride: int | None = None,
        output_token_maps: bool = False,
        thresholds: torch.Tensor | None = None,
        reads: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        The body of `forward`: embeds, plans and runs a window.

        Args:
            settings: of the call.
            reads (`int`, *optional*): how many tokens in front the caller reads, so that the last layer need not
                compute the others; `None` for all tokens.
            (others): as in `forward`; `pixel_values` with as many frames as the model takes.
        """
        raise NotImplementedError

    def last_states(self, encoded: Any) -> torch.Tensor:
        """Last hidden states of every token, `(batch, tokens, hidden_size)`, of a window that was encoded."""
        raise NotImplementedError

    def reuse_settings(self, temporal_reuse: TemporalReuseConfig | dict[str, Any] | None) -> TemporalReuseConfig:
        """The settings of a call, which are those of the config if none are given, checked."""
        settings = as_temporal_reuse_config(temporal_reuse or self.config.temporal_reuse)
        settings.validate_settings()
        return settings

    def reuses(self, settings: TemporalReuseConfig) -> bool:
        """Whether a call with such settings goes through the plan at all."""
        reductions = self.config.active_reductions(settings)
        is_plain = settings.mode == "off" and not reductions
        return not self.training and not is_plain

    def refuse_cache(self, past_key_values: ReuseCache | None, stride: int | None, *choices: str) -> None:
        """
        Makes sure that nothing is expected to be reused where nothing is.

        Args:
            past_key_values, stride: as in `forward`.
            choices (`str`): names of `WindowParts.choices` that keep tokens from being reused.

        Raises:
            ValueError: one sentence that names the argument and the reason.
        """
        reason = "training" if self.training else choices[0] if choices else "mode 'off'"
        for name, value in (("past_key_values", past_key_values), ("stride", stride)):
            if value is not None:
                raise ValueError(f"{name} cannot be used with {reason}; leave it out.")

    def check_window(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        The input, as many frames as the model takes.

        Raises:
            ValueError: if number of frames, channels, height or width is wrong.
        """
        warn_of_slow_dtype(self)  # type: ignore[arg-type]
        (height, width), channels = self.config.frame_size, self.config.num_channels
        wanted = self.config.window_frames
        shape = tuple(getattr(pixel_values, "shape", ()))
        if not isinstance(pixel_values, torch.Tensor) or pixel_values.dim() != 5 or 0 in shape:
            raise ValueError(
                f"pixel_values has shape {shape}, but must be (batch, frames, channels, height, width), here (batch, "
                f"{wanted}, {channels}, {height}, {width})."
            )
        if shape[2:] != (channels, height, width):
            raise ValueError(
                f"pixel_values has shape {shape}, with frames of {' x '.join(map(str, shape[2:]))}, but the model "
                f"takes {channels} x {height} x {width}; resize the frames."
            )
        if shape[1] > wanted:
            raise ValueError(
                f"pixel_values has {shape[1]} frames, but the model takes {wanted}; choose {wanted} of them, or call "
                "the model with one window after another and hand the cache back."
            )
        if shape[1] < wanted:
            logger.warning_once(
                f"A clip of {shape[1]} frames is shorter than the {wanted} that the model takes; its last frame is "
                "held."
            )
            missing = pixel_values[:, -1:].expand(-1, wanted - shape[1], -1, -1, -1)
            pixel_values = torch.cat([pixel_values, missing], dim=1)
        return pixel_values


class WindowModel(TakesWindows):
    """In front of a base model of transformers: computes the tokens of a window that matter, and reuses the others."""

    parts: ClassVar[WindowParts]

    def last_states(self, encoded: EncodedWindow) -> torch.Tensor:
        """See `TakesWindows.last_states`."""
        return self.parts.norm_of(self, self.parts.in_parents_order(self, encoded.every_token()))

    @torch.compiler.disable
    def encode_window(
        self,
        pixel_values: torch.Tensor,
        settings: TemporalReuseConfig,
        past_key_values: TemporalReuseWindowCache | None = None,
        stride: int | None = None,
        output_token_maps: bool = False,
        thresholds: torch.Tensor | None = None,
        reads: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `TakesWindows.encode_window`."""
        parts = self.parts
        output_all = any(
            bool(kwargs.get(name, getattr(self.config, name)))
            for name in ("output_attentions", "output_hidden_states")
        )
        active = self.config.active_reductions(settings)
        if self.captured_steps is not None and isinstance(past_key_values, TemporalReuseWindowCache):
            asks = active or output_all or output_token_maps or reads is not None
            if not asks and thresholds is None and past_key_values.goes_on_plainly:
                step = self._captured_step(pixel_values, settings, past_key_values, stride)
                if step is not None:
                    return step
        checksums = checksums_of(pixel_values)
        check_attention_takes_masks(self.config._attn_implementation, pixel_values.device.type)
        is_off = settings.mode == "off"
        if is_off:
            self.refuse_cache(past_key_values, stride)
        cache = self._cache_for(past_key_values, pixel_values, reads)
        state = cache.streams
        if state is not None:
            state = state.to(pixel_values.device)
        shared, entering = self._shared_times(checksums, state, stride), 0
        patches = self._embed(pixel_values, state, shared)
        if settings.sliding and state is not None and shared and parts.attention_class.positions_are_relative:
            entering = patches.shape[1] - shared
            state = state.shifted(entering)
        thresholds = check_thresholds(thresholds, pixel_values.shape[0])
        outputs, front = None if output_all else reads, parts.prefix(self)
        planner = WindowPlanner(
            settings,
            self.config.grid,
            parts.first_is_read(self),
            output_all,
            thresholds,
            prefix=self.config.prefix_tokens,
        )
        methods = [method for method in active if isinstance(method, LayerReduction)]
        plan = planner.plan(patches, state, self._runs(pixel_values, active), entering)

        tokens, positions = patches.flatten(1, 2), parts.positions(self)
        if front is not None:
            tokens = torch.cat([front.to(tokens).expand(len(tokens), -1, -1), tokens], dim=1)
        if positions is not None:
            positions = with_prefix(positions.to(tokens), plan.prefix, 0)
        if plan.is_dense:
            rows = tokens if positions is None else tokens + positions
        else:
            rows = tokens.flatten(0, 1)[plan.rows]
            rows = rows if positions is None else rows + positions[0, plan.rows % plan.tokens]
            rows = rows[None] if self.row_buckets is None or methods else self.row_buckets.pad(rows[None])
        reduction, depth = None, len(parts.layers_of(self))
        if methods:
            reduction = RowReduction(
                methods,
                self.config.model_shape(),
                plan.row_counts,
                rows.device,
                None if plan.is_dense else plan.computed_counts,
                layers=depth - (outputs is not None),
                keep_last_states=outputs is None,
            )
        runs = parts.run_class.for_layers(depth, reduction, plan, None if is_off else cache, outputs)
        if len(plan.rows):
            layers = self._run_layers(rows, runs, return_dict=True, **kwargs)
            states = layers.last_hidden_state
            if layers.hidden_states is not None:
                layers.hidden_states = tuple(
                    part if part is None else parts.in_parents_order(self, part) for part in layers.hidden_states
                )
        else:
            cache.keep(plan)
            layers, states = BaseModelOutput(), patches.new_zeros(1, 0, patches.shape[-1])
        if outputs is None:
            states = states if reduction is None else reduction.expand_last(states)
            states = trim_rows(states.flatten(0, 1), len(plan.rows))
            states = cache.update_output(states, plan) if reads is None else states
        else:
            states = states.flatten(0, 1).unflatten(0, (-1, outputs))
        kept = cache.kept(depth, plan, reduction)
        cache.remember_kept(plan, reduction)
        if not is_off:
            cache.streams = planner.remember(plan, patches, checksums, state)
        fresh = [True] * plan.shape[0] if state is None else state.is_fresh
        embedded = [plan.shape[1] if is_fresh else plan.shape[1] - shared for is_fresh in fresh]
        pairs = [run.pairs for run in runs]
        report = window_report(parts.cost(self, plan.shape[2]), plan, embedded, reduction, outputs, pairs)
        if output_token_maps:
            past = state.token_rows() if state is not None and plan.has_past else ()
            mapper = TokenMapper(depth)
            mapper.add(plan, patches, planner.scale(patches)[:, None], reduction, *past)
            report.maps = mapper.maps()
        return EncodedWindow(plan, states, kept, layers, None if is_off else cache, report)

    def _captured_step(
        self,
        pixel_values: torch.Tensor,
        settings: TemporalReuseConfig,
        cache: TemporalReuseWindowCache,
        stride: int | None,
    ) -> Any:
        """The next window of streams in a step of fixed shapes, or `None` where it is for the usual way."""
        is_stride = stride is None or (isinstance(stride, int) and not isinstance(stride, bool) and stride >= 1)
        if settings.mode == "off" or settings.computes_everything or not is_stride:
            return None
        if pixel_values.device != self.device:
            return None
        self._check_cache(cache, pixel_values, None, self.captured_steps.weights)
        planner = WindowPlanner(settings, self.config.grid, self.parts.first_is_read(self))
        return self.captured_steps.step(pixel_values, settings, cache, stride, planner)

    @capture_outputs(tie_last_hidden_states=False)
    def _run_layers(self, hidden_states: torch.Tensor, runs: list[LayerRun], **kwargs: Any) -> BaseModelOutput:
        for layer, run in zip(self.parts.layers_of(self), runs):
            with running(run):
                output = layer(hidden_states, run=run)
            hidden_states = output[0] if isinstance(output, tuple) else output
        return BaseModelOutput(last_hidden_state=hidden_states)

    def _runs(self, pixel_values: torch.Tensor, methods: list[Reduction]) -> torch.Tensor | None:
        """Which token stands for each slot by its pixels alone, if there is a method that looks at them."""
        runs = None
        for method in methods:
            if isinstance(method, WindowReduction):
                found = sources_of(method, pixel_values, self.parts.tubelet(self))
                runs = found if runs is None else runs.gather(1, found)
        return runs

    def _embed(self, pixel_values: torch.Tensor, state: WindowState | None, shared: int) -> torch.Tensor:
        """
        Patch embeddings, positions left out, `(batch, times, positions, hidden_size)`; the first `shared` times are
        known to the streams that have a past.
        """
        projection, (tubelet, _, _) = self.parts.projection_of(self), self.parts.tubelet(self)
        dtype = dtype_of_inputs(projection, pixel_values.dtype)

        def embed(frames: torch.Tensor) -> torch.Tensor:
            return embed_tubelets(projection, frames.to(dtype))

        if state is None or not shared or all(state.is_fresh):
            return embed(pixel_values)
        fresh = torch.tensor(state.is_fresh, device=pixel_values.device)
        patches = state.patches.new_empty(state.patches.shape)
        if bool(fresh.any()):
            patches[fresh] = embed(pixel_values[fresh])
        known, new = state.patches[~fresh, -shared:], embed(pixel_values[~fresh, shared * tubelet :])
        patches[~fresh] = torch.cat([known, new], dim=1)
        return patches

    def _shared_times(self, checksums: torch.Tensor, state: WindowState | None, stride: int | None) -> int:
        """How many tubelets of the window were embedded in the previous one; see `frames_in_common`."""
        before = None if state is None else (state.checksums, [not fresh for fresh in state.is_fresh])
        frames, (tubelet, _, _) = frames_in_common(checksums, before, stride), self.parts.tubelet(self)
        return frames // tubelet if stride is not None and stride % tubelet == 0 else 0

    def _cache_for(
        self, past_key_values: TemporalReuseWindowCache | None, pixel_values: torch.Tensor, reads: int | None
    ) -> TemporalReuseWindowCache:
        """The cache handed in, after a look at what it was filled with, or a new one."""
        layers = len(self.parts.layers_of(self))
        if past_key_values is None:
            past_key_values = TemporalReuseWindowCache(layers * self.parts.run_class.key_sets)
        elif not isinstance(past_key_values, TemporalReuseWindowCache):
            raise ValueError(
                f"past_key_values is a {type(past_key_values).__name__}, but must be the TemporalReuseWindowCache "
                "that the previous window returned."
            )
        self._check_cache(past_key_values, pixel_values, reads, self.weights_digest())
        return past_key_values

    def _check_cache(
        self, cache: TemporalReuseWindowCache, pixel_values: torch.Tensor, reads: int | None, weights: str
    ) -> None:
        """Makes sure that a cache goes on with what it was filled with; see `ReuseCache.check_owner`."""
        projection = self.parts.projection_of(self)
        cache.check_owner(
            model=type(self).__name__,
            layers=len(self.parts.layers_of(self)),
            hidden_size=self.config.hidden_size,
            window=f"{self.config.window_frames} frames of {' x '.join(map(str, pixel_values.shape[-2:]))}",
            batch_size=pixel_values.shape[0],
            dtype=str(dtype_of_inputs(projection, pixel_values.dtype)).removeprefix("torch."),
            device=str(getattr(projection.weight, "device", pixel_values.device)),
            outputs="of all tokens" if reads is None else "of the CLS tokens",
            weights=weights,
        )


class WindowClassifier(ReuseClassifier):
    """
    In front of a video classifier of transformers: classifies clips, or one window of a stream after another.

    Attributes:
        encoder_class: see `ReuseClassifier`.
        head: makes logits `(batch, labels)` of a window that was encoded. A model whose parent has a part of this name
            has `classify_window` do so.
    """

    encoder_class: ClassVar[type[TakesWindows]]
    head: Any
    takes_clips: ClassVar[bool] = True
    main_input_name = "pixel_values"
    _supports_flash_attn = False

    def classify_window(self, encoded: Any) -> torch.Tensor:
        """Logits `(batch, labels)` of a window that was encoded."""
        logits: torch.Tensor = self.head(encoded)
        return logits

    def run_parent(self, pixel_values: torch.Tensor, settings: TemporalReuseConfig, **kwargs: Any) -> Any:
        """
        The parent's code, with a base model that finds nothing to do in the settings; without a loss.

        Args:
            pixel_values, settings: of the call.
            kwargs: what else it takes.
        """
        return super().forward(pixel_values, temporal_reuse=settings, **kwargs, return_dict=True)  # type: ignore[misc]

    def head_multiply_adds(self, rows: int) -> int:
        """What the logits of a stream of so many rows cost."""
        return multiply_adds_of_row(self.classifier)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: TemporalReuseWindowCache | None = None,
        use_cache: bool | None = None,
        stride: int | None = None,
        output_reuse_plan: bool = False,
        output_token_maps: bool = False,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
        thresholds: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TemporalReuseVideoClassifierOutput:
        """
        Args:
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): classes of the clips, for the loss.
            num_items_in_batch: for the loss, as trainers hand it in.
            (others): as in the base model's `forward`.

        Raises:
            TypeError: for any other keyword.
            ValueError: if the input or the cache does not fit; one sentence.
        """
        model = self.video_encoder
        pixel_values = kwargs.pop(model.parts.pixels, pixel_values)
        _refuse_unknown(kwargs, self.config.parent_name)
        pixel_values = model.check_window(pixel_values)
        loss_options = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
        settings = model.reuse_settings(temporal_reuse)
        if not model.reuses(settings):
            model.refuse_cache(past_key_values, stride)
            output = self.run_parent(pixel_values, settings, **kwargs)
            if labels is not None:
                output.loss = self.loss_function(labels, output.logits, self.config, **loss_options)
            return TemporalReuseVideoClassifierOutput(**output)
        encoded = model.encode_window(
            pixel_values,
            settings,
            past_key_values,
            stride,
            output_token_maps,
            thresholds,
            model.parts.reads(model),
            **kwargs,
        )
        logits = self.classify_window(encoded)
        costs = list(map(self.head_multiply_adds, encoded.row_counts))
        # What is the same for all streams is not copied to the device, which would wait for that.
        spent = costs[0] if len(set(costs)) == 1 else torch.tensor(costs, device=logits.device)
        encoded.report.add_head(spent, self.head_multiply_adds(encoded.tokens))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **loss_options)
        layers = {name: encoded.layers.get(name) for name in ("hidden_states", "attentions")}
        return TemporalReuseVideoClassifierOutput(
            loss=loss, logits=logits, **layers, **_reuse_outputs(encoded, use_cache, output_reuse_plan)
        )


def checksums_of(pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Sums of the pixels of each frame, `(batch, frames)`, of windows `(batch, frames, channels, height, width)`.

    Raises:
        ValueError: if there are pixels that are no numbers.
    """
    checksums = pixel_values.sum((2, 3, 4), dtype=torch.float64)
    if not bool(torch.isfinite(checksums).all()):
        raise ValueError("pixel_values holds NaN or infinite values; check how the frames were decoded and scaled.")
    return checksums


def frames_in_common(
    checksums: torch.Tensor, before: tuple[torch.Tensor, list[bool]] | None, stride: int | None
) -> int:
    """
    How many frames a window has in common with the previous one of its streams.

    Args:
        checksums (`torch.DoubleTensor` of shape `(batch, frames)`): of the window.
        before (`tuple`, *optional*): those of the previous window, and which streams have one.
        stride (`int`, *optional*): by how many frames this one is said to be ahead; `None` if that is not known.

    Raises:
        ValueError: if the stride is none, or the window is not that far ahead of the previous one.
    """
    if stride is not None and (not isinstance(stride, int) or isinstance(stride, bool) or stride < 1):
        raise ValueError(f"stride is {stride!r}, but must be a number of frames of at least 1, or None.")
    frames = checksums.shape[1]
    if before is None or stride is None or stride >= frames:
        return 0
    overlap, goes_on = frames - stride, torch.tensor(before[1], device=checksums.device)
    if not bool(go_on(checksums[goes_on], before[0].to(checksums)[goes_on], stride)):
        raise ValueError(
            f"the window does not go on from the cached one with a stride of {stride}: its first {overlap} frames "
            f"are not the last {overlap} of that; hand in the stride that the windows have, or leave it out."
        )
    return overlap


def go_on(checksums: torch.Tensor, before: torch.Tensor, stride: int) -> torch.Tensor:
    """
    Whether windows go on from those of before, a truth value on the device.

    Args:
        checksums, before (`torch.DoubleTensor` of shape `(batch, frames)`): of both.
        stride (`int`): frames between them, less than they have.
    """
    expected = before[:, stride:]
    # `isclose` does the same in twice as many operations: it has infinite numbers in mind, which are refused before.
    return ((checksums[:, :-stride] - expected).abs() <= 1e-3 + 1e-6 * expected.abs()).all()


def embed_tubelets(projection: Any, frames: torch.Tensor) -> torch.Tensor:
    """
    Patch embeddings, `(batch, times, positions, hidden_size)`, of frames `(batch, frames, channels, height, width)`.

    A convolution whose patches do not overlap is a matrix product, which is several times faster on the CPU.
    """
    *of_time, height, width = projection.kernel_size
    embeddings: torch.Tensor
    is_plain = type(projection) in (nn.Conv2d, nn.Conv3d) and not hasattr(projection, "_hf_hook")
    if not is_plain or projection._forward_pre_hooks:
        # Quantized, adapted or offloaded: only a call knows what to do.
        if not of_time:
            embeddings = projection(frames.flatten(0, 1))
            return embeddings.flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])
        embeddings = projection(frames.transpose(1, 2))
        return embeddings.flatten(3).permute(0, 2, 3, 1)
    tubelet = of_time[0] if of_time else 1
    # Like a convolution, without what is no whole patch.
    for dim, size in ((1, tubelet), (3, height), (4, width)):
        frames = frames.narrow(dim, 0, frames.shape[dim] // size * size)
    patches = frames.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(1, (-1, tubelet))
    # (batch, times, tubelet, channels, rows, height, columns, width) to patches in the order of the weights.
    patches = patches.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(2, 3)
    return nn.functional.linear(patches, projection.weight.flatten(1), projection.bias)


def _reuse_outputs(encoded: Any, use_cache: bool | None, output_reuse_plan: bool) -> dict[str, Any]:
    """What every model with reuse returns beside its parent's outputs."""
    report = ReuseReport(
        **{name: part for name, part in encoded.report.items() if output_reuse_plan or name != "plan"}
    )
    cache = encoded.cache if use_cache is None or use_cache else None
    return {"past_key_values": cache, "reuse": report}


def _refuse_unknown(kwargs: dict[str, Any], name: str) -> None:
    """
    The parent swallows what it does not know.

    Raises:
        TypeError: one sentence that names the keyword.
    """
    unknown = sorted(kwargs.keys() - {"output_hidden_states", "output_attentions", "return_dict"})
    if unknown:
        raise TypeError(f"{name} with temporal reuse has no use for {', '.join(map(repr, unknown))}; leave it out.")
