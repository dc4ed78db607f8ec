"""The options of `hf-ttr stream` by the names that its messages have for them."""

from __future__ import annotations

import re


_OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("window", "stride", "lookahead", "top_k", "frame_sampling_rate", "latency_budget_ms", "max_threshold"),
        *("verify_every", "max_divergence", "every", "on_change", "min_score", "fields"),
        *("timeout", "reconnect", "snapshot_every", "max_fps"),
    )
} | {"compute_budget": "--budget"}


def as_options(sentence: str) -> str:
    """
    A sentence of the library about its arguments as one about the options of the command.

    Args:
        sentence: such as "window is 0, but must be 1"; a word counts where it begins the sentence, stands in backticks
            or has an underscore.
    """

    def option(match: re.Match[str]) -> str:
        # What is quoted, such as a name, stays as it is.
        word = match["ticked"] or match["plain"] or ""
        is_name = match["ticked"] or match.start() == 0 or "_" in word
        return _OPTIONS[word] if is_name and word in _OPTIONS else match[0]

    return re.sub(r"'[^']*'|`(?P<ticked>\w+)`|(?P<plain>\b\w+\b)", option, sentence)
