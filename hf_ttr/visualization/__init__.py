"""Pictures, videos and a page that show what became of the tokens of a call."""

from .groups import group_map
from .heat import age_map, error_map, heat_map
from .page import reuse_page
from .reuse import reuse_map
from .video import reuse_video


__all__ = ["age_map", "error_map", "group_map", "heat_map", "reuse_map", "reuse_page", "reuse_video"]
