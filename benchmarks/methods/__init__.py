"""Reuse, the dense models, and methods of papers written anew, behind one interface; by short name."""

from __future__ import annotations

from .accumulation import TemporalAccumulation
from .base import Method, Outcome, StreamMethod
from .clip_dropping import DenseClip, FewerFrames, RandomTokens, RunLength, Tubes
from .dense import Dense, DenseStream
from .eventful import (
    ClsEventfulFull,
    ClsEventfulTokenwise,
    ClsGatedByPreviousFrame,
    EventfulBeforeNorm,
    EventfulFull,
    EventfulTokenwise,
    GatedByPreviousFrame,
    ThresholdEventfulFull,
    ThresholdEventfulTokenwise,
)
from .frame_skipping import HeldFrames, InterpolatedFrames
from .merging import EnergyMerging, PublishedMerging, PublishedSaliency
from .neuroflow import SurpriseGate
from .random_drop import RandomDrop
from .reduction import (
    ClipReusedAndMerged,
    ClipReusedAndPruned,
    Merged,
    MergedAcrossFrames,
    MergedCountedOnce,
    Pruned,
    ReusedAndMerged,
    ReusedAndMergedAcrossFrames,
    ReusedAndPruned,
    Runs,
    Salient,
)
from .reuse import Bidirectional, Budgeted, Causal, ClipReuse, LookAhead
from .rollout import RolloutPruning
from .sampling import AdaptiveSampling
from .stc import RareReferences, SelectiveCaching


VIT: dict[str, type[Method]] = {
    "dense": Dense,
    "dense_frame_by_frame": DenseStream,
    "bidirectional": Bidirectional,
    "budget": Budgeted,
    "look_ahead": LookAhead,
    "causal": Causal,
    "skip_interpolate": InterpolatedFrames,
    "skip_hold": HeldFrames,
    "eventful_tokenwise": EventfulTokenwise,
    "eventful_full": EventfulFull,
    "stgt": GatedByPreviousFrame,
    "eventful_tokenwise_cls": ClsEventfulTokenwise,
    "eventful_full_cls": ClsEventfulFull,
    "stgt_cls": ClsGatedByPreviousFrame,
    "eventful_tokenwise_before": EventfulBeforeNorm,
    "eventful_tokenwise_threshold": ThresholdEventfulTokenwise,
    "eventful_full_threshold": ThresholdEventfulFull,
    "stc": SelectiveCaching,
    "stc_rare": RareReferences,
    "neuroflow": SurpriseGate,
    "rgtp": RolloutPruning,
    "random_drop": RandomDrop,
    "tome": Merged,
    "tome_published": PublishedMerging,
    "vidtome": MergedAcrossFrames,
    "vid_tldr": Salient,
    "vid_tldr_published": PublishedSaliency,
    "pitome": EnergyMerging,
    "ats": AdaptiveSampling,
    "pruning": Pruned,
    "reuse_tome": ReusedAndMerged,
    "reuse_vidtome": ReusedAndMergedAcrossFrames,
    "reuse_pruning": ReusedAndPruned,
}
VIDEOMAE: dict[str, type[Method]] = {
    "dense": DenseClip,
    "reuse": ClipReuse,
    "rlt": RunLength,
    "sta": TemporalAccumulation,
    "random_drop": RandomTokens,
    "tube_drop": Tubes,
    "fewer_frames": FewerFrames,
    "tome": Merged,
    "tome_once": MergedCountedOnce,
    "vid_tldr": Salient,
    "vid_tldr_published": PublishedSaliency,
    "pitome": EnergyMerging,
    "pruning": Pruned,
    "run_length": Runs,
    "reuse_tome": ClipReusedAndMerged,
    "reuse_pruning": ClipReusedAndPruned,
}

__all__ = ["VIDEOMAE", "VIT", "Method", "Outcome", "StreamMethod"]
