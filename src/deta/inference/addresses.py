"""Images at addresses of the web."""

import http.client
import io
import re
import urllib.error
import urllib.request
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from deta.data.decoding import ImageError
from deta.data.images import DecodedImage, ImageRules, decode_image
from deta.inference.pictures import Picture

_ADDRESS = re.compile(r"(?i)https?://")
_LONGEST = 256 * 2**20
"""Bytes of an image file."""
_SECONDS = 30.0
"""To wait for a server."""
_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_STEM = 80


def is_address(text: str) -> bool:
    """Whether a text is an address of the web."""
    return _ADDRESS.match(text) is not None


def picture_of_address(address: str) -> Picture:
    """The image that is loaded from an address once it is looked at; only of ``http`` and ``https``."""
    return Picture(
        name=address,
        stem=safe_stem(PurePosixPath(unquote(urlsplit(address).path)).stem),
        read=lambda rules: _load(address, rules),
    )


def safe_stem(text: str) -> str:
    """The text as begin of a file name: letters, digits, ``-`` and ``_``."""
    return _STRANGE.sub("_", text)[:_LONGEST_STEM].strip("_") or "image"


def _load(address: str, rules: ImageRules) -> DecodedImage:
    # Redirections of urllib lead to http, https and ftp alone, and an opener without ftp refuses the last.
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    )
    for handler in handlers:
        opener.add_handler(handler())
    try:
        with opener.open(urllib.request.Request(address, headers={"User-Agent": "deta"}), timeout=_SECONDS) as answer:
            content = answer.read(_LONGEST + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ImageError(f"image {address} cannot be loaded: {reason}") from error
    if len(content) > _LONGEST:
        raise ImageError(f"image {address} has more than {_LONGEST:,} bytes")
    return decode_image(io.BytesIO(content), name=address, rules=rules)
