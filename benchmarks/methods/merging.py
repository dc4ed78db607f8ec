"""
Merging as published, written anew, on frames in batches and on clips: rows lie in the order in which the papers' code
puts them, which decides on partners in the next layer.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn.functional import elu, normalize

from .base import Method
from .clip_model import ClipModel
from .frames import CHUNK, FrameModel, split_heads
from .layers import LayerParts


@dataclass
class Pairs:
    """
    What becomes one, in frames or clips.

    Attributes:
        sources, targets (`torch.LongTensor` of shape `(batch, merged)`): rows, and the rows that they are merged into.
        kept (`torch.LongTensor` of shape `(batch, rows - merged)`): the other rows, in their new order.
        shares (`torch.Tensor` of shape `(batch, rows)`, *optional*): what of the size of each source counts.
    """

    sources: torch.Tensor
    targets: torch.Tensor
    kept: torch.Tensor
    shares: torch.Tensor | None = None


@dataclass
class Seen:
    """
    What a layer shows, of rows that CLS is none of.

    Attributes:
        states (`torch.Tensor` of shape `(batch, rows, size)`): behind attention.
        keys (`torch.Tensor` of shape `(batch, rows, head size)`): means over heads.
        scores (`torch.Tensor` of shape `(batch, heads, rows, rows)`): of attention, sizes left out.
    """

    states: torch.Tensor
    keys: torch.Tensor
    scores: torch.Tensor


class Merging(Method):
    """
    Merges rows between attention and MLP.

    Args:
        model: a `ViTForImageClassification`, whose frames are in batches, or a `VideoMAEForVideoClassification`.
        setting: the knob.

    Attributes:
        pools_by_size (`bool`): whether rows count by their size in the mean over tokens of a VideoMAE, as they
            do in attention.
        first (`int`): rows in front that stay as they are.
    """

    pools_by_size: ClassVar[bool] = True

    def __init__(self, model: Any, setting: float = 0.1) -> None:
        super().__init__(model, setting)
        self.parts: Any = FrameModel(model) if hasattr(model, "vit") else ClipModel(model)
        self.layers = [LayerParts.of(layer) for layer in self.parts.layers]
        self.first = 1 if isinstance(self.parts, FrameModel) else 0

    @abstractmethod
    def merged(self, number: int, rows: int) -> int:
        """How many of so many rows, CLS not counted, a layer merges."""

    @abstractmethod
    def pairs(self, number: int, seen: Seen, count: int) -> Pairs:
        """Which rows a layer merges; adds to `multiply_adds`."""

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames, in batches, or the clip."""
        parts = self.parts
        if isinstance(parts, ClipModel):
            tokens = torch.arange(parts.tokens, device=pixels.device)
            self.multiply_adds += parts.times * parts.cost.patch + parts.head(parts.tokens)
            return parts.logits(self.through_layers(parts.embed(pixels, tokens)))
        self.multiply_adds += len(pixels) * parts.outside
        return torch.cat([parts.logits(self.through_layers(parts.embed(part))) for part in pixels.split(CHUNK)])

    def through_layers(self, states: torch.Tensor) -> torch.Tensor:
        """Rows `(batch, rows, size)` behind the last layer: CLS of frames; of clips those whose mean is read."""
        cost = self.parts.cost
        sizes = states.new_ones(states.shape[:2])
        for number, layer in enumerate(self.layers):
            batch, rows, _ = states.shape
            if self.first and number == len(self.layers) - 1:
                self.multiply_adds += batch * self.parts.last_layer(rows, rows)
                return layer.finished(states[:, :1], self.attended(layer, states, sizes, 1)[0])
            read, keys, scores = self.attended(layer, states, sizes)
            states = states + layer.output(read)
            count = self.merged(number, rows - self.first)
            if count:
                first = self.first
                seen = Seen(states[:, first:], keys[:, first:], scores[..., first:, first:])
                states, sizes = merge(states, sizes, self.pairs(number, seen, count), first)
            self.multiply_adds += batch * cost.layer(rows, rows**2, rows - count)
            states = layer.fed_forward(states)
        return states * (sizes / sizes.mean())[..., None] if self.pools_by_size else states

    def attended(
        self, layer: LayerParts, states: torch.Tensor, sizes: torch.Tensor, queries: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the first so many rows read, by default all; the mean keys of all; and scores, without sizes."""
        normed = layer.before(states)
        asking = layer.query(normed if queries is None else normed[:, :queries])
        query, key, value = (split_heads(part, layer) for part in (asking, layer.key(normed), layer.value(normed)))
        scores = query @ key.mT * layer.scaling
        weights = (scores + sizes.log()[:, None, None]).softmax(-1)
        return (weights @ value).transpose(1, 2).flatten(2), key.mean(1), scores


def merge(states: torch.Tensor, sizes: torch.Tensor, pairs: Pairs, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """States `(batch, rows, size)` and sizes `(batch, rows)` behind a merge of all rows but some in front."""
    head, rest = states[:, :first], states[:, first:]
    head_sizes, weights = sizes[:, :first], sizes[:, first:]
    given = weights if pairs.shares is None else weights * pairs.shares
    given = given.gather(1, pairs.sources)
    total = weights.scatter_add(1, pairs.targets, given)

    def wide(index: torch.Tensor) -> torch.Tensor:
        return index[..., None].expand(-1, -1, states.shape[-1])

    sums = rest * weights[..., None]
    sums = sums.scatter_add(1, wide(pairs.targets), rest.gather(1, wide(pairs.sources)) * given[..., None])
    merged = (sums / total[..., None]).gather(1, wide(pairs.kept))
    return torch.cat([head, merged], 1), torch.cat([head_sizes, total.gather(1, pairs.kept)], 1)


def matched(
    features: torch.Tensor, looking: torch.Tensor, found: torch.Tensor, count: int, *, in_order: bool
) -> Pairs:
    """
    Bipartite soft matching.

    Args:
        features (`torch.Tensor` of shape `(batch, rows, dim)`): what is compared, by cosine.
        looking, found (`torch.LongTensor` of shape `(rows,)`): rows that look for the most similar one of others.
        count (`int`): how many find it.
        in_order (`bool`): whether those that do not stay in the order of their places, not of their likeness.
    """
    features = normalize(features, dim=-1)
    best, choice = (features[:, looking] @ features[:, found].mT).max(-1)
    order = best.argsort(dim=-1, descending=True)
    sources, targets = looking[order[:, :count]], found[choice.gather(1, order[:, :count])]
    left = looking[order[:, count:]]
    left = left.sort(1).values if in_order else left
    return Pairs(sources, targets, torch.cat([left, found.expand(len(features), -1)], 1))


class PublishedMerging(Merging):
    """Token merging with the rows in the order of the paper's code: those that were merged into behind the others."""

    title = "ToMe, rows in the paper's order"
    paper = "Bolya et al., Token merging, ICLR 2023"
    knob = "share of the rows merged in each layer"
    sweep = (0.02, 0.04, 0.07, 0.11, 0.16, 0.25, 0.4)

    def merged(self, number: int, rows: int) -> int:
        """See `Merging.merged`."""
        return min(max(int(self.setting * (rows + self.first)), 1), rows // 2)

    def pairs(self, number: int, seen: Seen, count: int) -> Pairs:
        """See `Merging.pairs`; CLS, the first row, is one of those that look, as in the paper's code."""
        batch, rows, size = seen.keys.shape
        places = torch.arange(rows, device=seen.keys.device)
        looking, found = places[self.first :: 2], places[1 - self.first :: 2]
        self.multiply_adds += batch * len(looking) * len(found) * size
        # There rows are sorted that CLS is one of.
        return matched(seen.keys, looking, found, count, in_order=self.first > 0)


class PublishedSaliency(Merging):
    """
    Merging by saliency in the first three layers: see `hf_ttr.reduction.VidTLDR`, and what differs from it.

    Here rows count in attention, too, by the saliencies that were added up.
    """

    title = "vid-TLDR, as published"
    paper = "Choi et al., vid-TLDR, CVPR 2024"
    knob = "share of the tokens merged in the first three layers"
    sweep = (0.1, 0.25, 0.4, 0.55, 0.65, 0.73)
    pools_by_size = False
    parts_of_setting: ClassVar[tuple[float, ...]] = (6 / 9, 2 / 9, 1 / 9)

    def merged(self, number: int, rows: int) -> int:
        """See `Merging.merged`."""
        if number >= len(self.parts_of_setting):
            return 0
        return min(int(self.setting * self.parts_of_setting[number] * self.parts.tokens), rows // 2)

    def pairs(self, number: int, seen: Seen, count: int) -> Pairs:
        """See `Merging.pairs`."""
        batch, rows, size = seen.states.shape
        places = torch.arange(rows, device=seen.states.device)
        looking, found = places[::2], places[1::2]
        self.multiply_adds += batch * len(looking) * len(found) * size
        pairs = matched(seen.states, looking, found, count, in_order=True)
        attention = seen.scores.softmax(-1).mean(1)
        sharpness = torch.special.xlogy(attention, attention).sum(-1)
        mean, most = sharpness.mean(-1, keepdim=True), sharpness.amax(-1, keepdim=True)
        pairs.shares = (sharpness - mean).clamp(min=0) / (most - mean)
        return pairs


class EnergyMerging(Merging):
    """
    Merging of what has many likes, while what stands alone is protected.

    The energy of a row is the mean over all rows of the cosine of their keys (mean over heads), less a margin that
    falls from layer to layer, as an exponential linear unit, so that unlike rows count for little. In half of the
    layers, those behind in a supervised model and those in front in a masked autoencoder, of the rows of most energy,
    twice as many as are to go, every second one is merged into the most similar one of the others. In the other layers
    every second row of all, in the order of their energy, looks for such a one, and the most similar pairs merge.

    Rows count in attention by their size in a VideoMAE, too, where the published code lets each count once: as with
    token merging, that is much nearer to the dense model here.
    """

    title = "PiToMe"
    paper = "Tran et al., Accelerating transformers with spectrum-preserving token merging, NeurIPS 2024"
    knob = "share of the rows merged in each layer"
    sweep = (0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.25, 0.4)
    margin: ClassVar[float] = 0.9
    """Of the first layer; it falls in a straight line towards 0."""

    def __init__(self, model: Any, setting: float = 0.1) -> None:
        super().__init__(model, setting)
        half = -(-len(self.layers) // 2)
        self.protects = range(half, len(self.layers)) if isinstance(self.parts, FrameModel) else range(half)

    def merged(self, number: int, rows: int) -> int:
        """See `Merging.merged`."""
        return min(int(self.setting * rows), rows // 2)

    def pairs(self, number: int, seen: Seen, count: int) -> Pairs:
        """See `Merging.pairs`."""
        batch, rows, size = seen.keys.shape
        keys = normalize(seen.keys, dim=-1)
        likeness = keys @ keys.mT
        self.multiply_adds += batch * rows**2 * size
        margin = self.margin * (1 - number / len(self.layers))
        order = elu(likeness - margin).mean(-1).argsort(-1, descending=True)
        taking_part = 2 * count if number in self.protects else rows
        looking, found = order[:, :taking_part:2], order[:, 1:taking_part:2]
        between = likeness.gather(1, looking[..., None].expand(-1, -1, rows))
        best, choice = between.gather(2, found[:, None].expand(-1, looking.shape[1], -1)).max(-1)
        closest = best.argsort(-1, descending=True)
        sources, left = looking.gather(1, closest[:, :count]), looking.gather(1, closest[:, count:])
        targets = found.gather(1, choice.gather(1, closest[:, :count]))
        return Pairs(sources, targets, torch.cat([order[:, taking_part:], left, found], 1))
