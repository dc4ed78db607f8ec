"""What a stream does at a time, in one word."""

from __future__ import annotations

from typing import Literal


StreamState = Literal["opening", "live", "reading", "stalled", "reconnecting", "ended", "failed"]
"""What a stream does:

- `"opening"`: it is being opened, also again and again, and gave no frame yet;
- `"live"`: frames come in their own time;
- `"reading"`: a file, or frames of the caller, is read as fast as the model takes them;
- `"stalled"`: it is open, and nothing comes;
- `"reconnecting"`: it was there, vanished, and is looked for;
- `"ended"`: it is over;
- `"failed"`: it is over because of a fault.
"""

OPENING: StreamState = "opening"
LIVE: StreamState = "live"
READING: StreamState = "reading"
STALLED: StreamState = "stalled"
RECONNECTING: StreamState = "reconnecting"
ENDED: StreamState = "ended"
FAILED: StreamState = "failed"

SILENCE = 3.0
"""Seconds without a frame after which a stream has stalled, unless its frames lie further apart."""

USUAL_GAPS = 4.0
"""Times the usual seconds between two frames, for streams whose frames do lie further apart."""


def is_silent(seconds: float, usual_gap: float) -> bool:
    """
    Whether nothing came for longer than it should.

    Args:
        seconds: since the last frame.
        usual_gap: seconds between two frames so far; 0 of a stream that had none or one.
    """
    return seconds > max(SILENCE, USUAL_GAPS * usual_gap)
