"""What a model says of the frames or windows of a video, and what that adds up to: labels, or features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from ..answers.scores import RunningMean, ScoreKind, best_labels, divergence, same_answer, score_kind, to_scores
from .row import DECIMALS, ClassifiedVideo, EmbeddedVideo, VideoRow


@dataclass
class Labels:
    """
    Makes labels of videos.

    Args:
        model: a video classifier with reuse.
        top_k (`int`): labels of a video.
        by_clip (`bool`): whether the logits of a clip are averaged before they are turned to scores, as `hf-ttr
            evaluate` does; if not, each frame counts by itself.
    """

    model: Any
    top_k: int = 5
    by_clip: bool = False
    kind: ScoreKind = field(init=False)

    def __post_init__(self) -> None:
        self.kind = score_kind(self.model.config.problem_type)

    row: type[VideoRow] = field(default=ClassifiedVideo, init=False)

    def answers(self, out: Any) -> torch.Tensor:
        """Logits `(streams, parts, labels)` of what the model gave."""
        if self.by_clip or self.model.config.window_frames is not None:
            return out.logits[:, None]
        return out.frame_logits

    def collect(self) -> RunningMean:
        """What the answers of one video are added to."""
        return RunningMean(self.kind)

    def fields(self, found: RunningMean) -> dict[str, Any]:
        """What the row of a video says."""
        best = best_labels(to_scores(found.logits, self.kind), self.top_k, self.model.config.id2label)
        return {"labels": [label for label, _ in best], "scores": [round(score, DECIMALS) for _, score in best]}

    def check(self, found: RunningMean, dense: RunningMean) -> dict[str, Any]:
        """What the row of a video says of its dense check."""
        kl = divergence(dense.logits, found.logits, self.kind).item()
        # Of what is numbers, and no labels, there are no two that are the same.
        same = None if self.kind == "none" else bool(same_answer(dense.logits, found.logits, self.kind))
        return {"divergence": round(kl, 2 * DECIMALS), "same_answer": same}


class Features:
    """Features of one video: their mean, or all of them."""

    def __init__(self, per_frame: bool) -> None:
        self.per_frame, self.count = per_frame, 0
        self._sum: torch.Tensor | None = None
        self._all: list[torch.Tensor] = []

    def add(self, states: torch.Tensor) -> None:
        """Takes features `(parts, hidden_size)`."""
        self.count += len(states)
        total = states.double().sum(0)
        self._sum = total if self._sum is None else self._sum + total
        if self.per_frame:
            self._all.append(states)

    @property
    def mean(self) -> torch.Tensor:
        """`(hidden_size,)`"""
        assert self._sum is not None
        return self._sum / self.count

    @property
    def values(self) -> list[Any]:
        """The features as a row has them."""
        return (torch.cat(self._all) if self.per_frame else self.mean).float().tolist()


@dataclass
class Embeddings:
    """
    Makes features of videos.

    Args:
        model: an encoder with reuse.
        has_pooler (`bool`): whether the pooler of the model was trained; else features are those of the first (CLS)
            token, and of models without one the mean over tokens.
        per_frame (`bool`): whether a row has those of each frame or window, and not their mean.
    """

    model: Any
    has_pooler: bool
    per_frame: bool = False
    row: type[VideoRow] = field(default=EmbeddedVideo, init=False)

    def answers(self, out: Any) -> torch.Tensor:
        """Features `(streams, parts, hidden_size)` of what the model gave."""
        pooled = getattr(out, "pooler_output", None) if self.has_pooler else None
        if pooled is None:
            states = out.last_hidden_state
            pooled = states[..., 0, :] if self.model.config.prefix_tokens else states.mean(-2)
        return pooled[:, None] if self.model.config.window_frames is not None else pooled

    def collect(self) -> Features:
        """What the answers of one video are added to."""
        return Features(self.per_frame)

    def fields(self, found: Features) -> dict[str, Any]:
        """What the row of a video says."""
        return {"embedding": found.values}

    def check(self, found: Features, dense: Features) -> dict[str, Any]:
        """What the row says of its dense check: the cosine distance of the means, from 0 to 2."""
        distance = 1 - cosine_similarity(found.mean, dense.mean, dim=0).item()
        return {"divergence": round(max(0.0, distance), 2 * DECIMALS), "same_answer": None}


Task = Labels | Embeddings
"""What is made of videos."""
