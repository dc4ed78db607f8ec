"""What models answer: scores, how alike they are, and what can be promised of them."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .promise import Target
    from .statistics import (
        Interval,
        bootstrap_interval,
        kl_divergence,
        paired_difference_interval,
        relative_logit_error,
        same_top_label,
        top_k_agreement,
        wilson_interval,
    )


__all__ = [
    "Interval",
    "Target",
    "bootstrap_interval",
    "kl_divergence",
    "paired_difference_interval",
    "relative_logit_error",
    "same_top_label",
    "top_k_agreement",
    "wilson_interval",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "promise": ["Target"],
        "statistics": [
            "Interval",
            "bootstrap_interval",
            "kl_divergence",
            "paired_difference_interval",
            "relative_logit_error",
            "same_top_label",
            "top_k_agreement",
            "wilson_interval",
        ],
    },
)
