"""One file from an address, whole or not at all; a download that broke off goes on where it was.

That is why this is no library's: those that check sums, such as pooch, begin a broken download anew.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from deta.utils.files import named, write_json

if TYPE_CHECKING:
    from requests import Response

_log = logging.getLogger(__name__)

PART = ".part"
"""Behind the name of a file while it is fetched; ``.part.json`` beside it tells of what."""
ATTEMPTS = 5
_TIMEOUT_S = 30.0
"""Without a byte."""
_CHUNK = 1 << 16
"""Bytes; of one that is not whole nothing is kept."""
_RANGE_BEHIND_END = 416
"""Code of an answer."""
_LATER = (408, 425, 429)
"""Codes of answers that may be others soon, beside those from 500 on, which are faults of the server."""


class DownloadError(ConnectionError):
    """A file could not be fetched; the message names its address."""


def download(url: str, target: Path, *, pause_s: float = 1.0) -> None:
    """Fetch a file over HTTP, with a bar of progress on a terminal.

    What came before a break, of the network or of this process, is kept; this call tries again by itself, and a later
    one goes on from there if the server still has the same file. ``HTTPS_PROXY`` and ``REQUESTS_CA_BUNDLE`` are heeded.

    Args:
        url: Address.
        target: File; its folder exists.
        pause_s: Before the second attempt, at least 0; twice as long before every further one.

    Raises:
        DownloadError: The server cannot be reached or does not have the file, or the address is that of a page.
        OSError: The file cannot be written.
    """
    import requests  # late: it costs more than the rest of a command that only lists weights

    part = target.with_name(f"{target.name}{PART}")
    last: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _fetch(url, part)
        except requests.RequestException as error:
            reason = _refusal(error)
            if reason is not None:
                raise DownloadError(f"{url} cannot be fetched: {reason}") from error
            _log.warning(
                "%s broke off (%s), attempt %d of %d", target.name, type(error).__name__, attempt + 1, ATTEMPTS
            )
            last = error
            continue
        except DownloadError:
            raise
        except OSError as error:
            raise named(error, part) from error
        part.replace(target)
        _note(part).unlink(missing_ok=True)
        return
    assert last is not None
    raise DownloadError(f"{url} cannot be fetched: {_innermost(last)}") from last


def _fetch(url: str, part: Path) -> None:
    """One attempt; goes on behind what ``part`` holds if it is of the same file."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    validator = _validator(part, url) if have else None
    headers = {"Accept-Encoding": "identity"}
    if validator is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if response.status_code == _RANGE_BEHIND_END:
            part.unlink()
            raise requests.ConnectionError("what was fetched before is longer than the file")  # and so tried anew
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(f"{url} cannot be fetched: it is a page, which needs a browser")
        goes_on = response.status_code == requests.codes.partial_content
        if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise requests.ConnectionError("another part came than was asked for")  # and so tried anew
        start = have if goes_on else 0
        write_json(_note(part), {"url": url, "validator": _validator_of(response)})
        _write(response, part, start)


def _write(response: "Response", part: Path, start: int) -> None:
    import requests

    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    progress = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
    with part.open("ab" if start else "wb") as file, progress:
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            progress.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.stat().st_size != total:
        raise requests.ConnectionError(f"{part.stat().st_size} bytes of {total} came")


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(part: Path, url: str) -> str | None:
    """What the server called the state of the file of which ``part`` is the begin; None if that is not known."""
    try:
        note = json.loads(_note(part).read_bytes())
    except (OSError, ValueError):
        return None
    found = note.get("validator") if isinstance(note, dict) and note.get("url") == url else None
    return found if isinstance(found, str) else None


def _validator_of(response: "Response") -> str | None:
    """A weak tag cannot be compared for a range."""
    tag = response.headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _refusal(error: "Exception") -> str | None:
    """Why another attempt would end as this one; None where it may not."""
    import requests

    unusable = requests.exceptions
    if isinstance(error, (unusable.InvalidURL, unusable.MissingSchema, unusable.InvalidSchema)):
        return "it is no address of a file (http:// or https://)"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        code = error.response.status_code
        if code < 500 and code not in _LATER:
            return f"the server answers {code} {error.response.reason}"
    return None


def _innermost(error: BaseException) -> str:
    """The system's own words, such as that a name is not known, out of those of several libraries."""
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
