"""Parts of a detector that are compiled one by one."""

from torch import nn


class Region(nn.Module):
    """Base class of modules that ``compile=true`` compiles, all of one class from one code.

    The layers of an encoder are alike, so that seconds spent on one serve all, where the whole step takes minutes.
    A region that has others inside is left to these.
    """
