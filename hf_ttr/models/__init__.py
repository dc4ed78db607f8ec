"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .beit import *
from .clip import *
from .deit import *
from .dinov2 import *
from .dinov2_with_registers import *
from .dinov3_vit import *
from .ijepa import *
from .metaclip_2 import *
from .siglip import *
from .siglip2 import *
from .videomae import *
from .videoprism import *
from .vit import *
from .vit_msn import *
from .vivit import *
from .vjepa2 import *
