"""Reading a large JSON object piece by piece, so that only what is wanted of it stays in memory."""

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 4 * 2**20
"""Bytes read at once."""
_LONGEST_TOKEN = 16
"""Characters; an error this near to the end of what was read may only be a token that is cut off."""
_DECODER = json.JSONDecoder()

Consumer = Callable[[Any], None]


def stream_object(path: Path, consumers: Mapping[str, Consumer]) -> Any:  # noqa: ANN401 - any JSON
    """Parse a JSON file whose top level is an object with long lists.

    Args:
        path: UTF-8 text, with or without byte order mark.
        consumers: By key of the top level: what takes the elements of the list under that key, one by one in
            order. The list itself is not kept.

    Returns:
        The object, with an empty list for every list that was consumed; a value under such a key that is no
        list stays as it is. Where the top level is no object: whatever it is.

    Raises:
        ValueError: The file is not JSON; the message says what is wrong at which line and column.
        UnicodeDecodeError: It is not text.
    """
    with path.open("rb") as file:
        text = _Text(file)
        value = _object(text, consumers) if text.peek() == "{" else text.value()
        if text.peek():
            raise text.error("Extra data")
        return value


def _object(text: "_Text", consumers: Mapping[str, Consumer]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    text.take("{")
    while text.peek() != "}":
        if text.peek() != '"':
            raise text.error("Expecting property name enclosed in double quotes")
        key = text.value()
        text.take(":")
        if key in consumers and text.peek() == "[":
            _consume_list(text, consumers[key])
            content[key] = []
        else:
            content[key] = text.value()
        if text.peek() != "}":
            text.take(",")
            if text.peek() == "}":
                raise text.error("Expecting property name enclosed in double quotes")
    text.take("}")
    return content


def _consume_list(text: "_Text", consume: Consumer) -> None:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        consume(text.value())
        if text.peek() == "]":
            text.take("]")
            return
        text.take(",")


class _Text:
    """A window that moves over a text file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._window = ""
        self._at = 0
        self._is_whole = False
        self._line, self._column = 1, 1  # of the start of the window

    def peek(self) -> str:
        """The next character that is no white space, empty at the end of the file."""
        while True:
            while self._at < len(self._window):
                character = self._window[self._at]
                if character not in " \t\n\r":
                    return character
                self._at += 1
            if not self._read_on():
                return ""

    def take(self, character: str) -> None:
        """Step over this character."""
        if self.peek() != character:
            raise self.error(f"Expecting {character!r} delimiter")
        self._at += 1

    def value(self) -> Any:  # noqa: ANN401 - any JSON
        """Parse the value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                offset = error.pos - self._at
                may_be_cut_off = error.msg.startswith("Unterminated") or error.pos > len(self._window) - _LONGEST_TOKEN
                if may_be_cut_off and self._read_on():
                    continue
                raise self.error(error.msg, offset) from None
            if end + len("e-") >= len(self._window) and self._read_on():  # a number may go on
                continue
            self._at = end
            return value

    def error(self, message: str, offset: int = 0) -> ValueError:
        """An error at ``offset`` characters after the present place, with its line and column."""
        line, column = self._place(self._at + offset)
        return ValueError(f"{message} at line {line}, column {column}")

    def _read_on(self) -> bool:
        """Drop what was parsed and read at least as much as is left; False at the end of the file."""
        if self._is_whole:
            return False
        data = self._file.read(max(_CHUNK, len(self._window) - self._at))
        decoded = self._decoder.decode(data, final=not data)
        if not data:
            self._is_whole = True
            return False
        self._line, self._column = self._place(self._at)
        self._window, self._at = self._window[self._at :] + decoded, 0
        return True

    def _place(self, position: int) -> tuple[int, int]:
        num_breaks = self._window.count("\n", 0, position)
        if not num_breaks:
            return self._line, self._column + position
        return self._line + num_breaks, position - self._window.rfind("\n", 0, position)
