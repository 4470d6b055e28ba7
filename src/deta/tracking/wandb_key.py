"""Whether Weights & Biases would know its user; neither its package nor the network is asked."""

import netrc
import os
from urllib.parse import urlsplit


def has_wandb_key() -> bool:
    """Whether W&B would find a key, in ``WANDB_API_KEY`` or in the netrc file that ``wandb login`` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
