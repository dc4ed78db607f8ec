"""How tokens may be reused over time."""

MODES = ("bidirectional", "causal", "off")
"""Between what is before and behind, from what was before, or not at all."""
