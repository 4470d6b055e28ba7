"""Published weights by name: what is known of them, and their files; nothing here imports PyTorch."""

from deta.zoo.store import Places, find
from deta.zoo.table import Entry, entries, entry, is_name

__all__ = ["Entry", "Places", "entries", "entry", "find", "is_name"]
