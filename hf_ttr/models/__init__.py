"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .beit import *
from .clip import *
from .metaclip_2 import *
from .siglip import *
from .siglip2 import *
from .videomae import *
from .vit import *
from .vivit import *
from .vjepa2 import *
