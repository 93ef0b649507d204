"""JSON followed character by character as it comes: how far it is sound, and whether it is whole (RFC 8259)."""

from __future__ import annotations

import enum
import json
import re

MAX_DEPTH = 128  # of objects and arrays; clients' parsers give up at some depth too
SPACE = " \t\n\r"
PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
SIMPLE_ESCAPES, HEX = '"\\/bfnrt', "0123456789abcdefABCDEF"
WORDS = {"t": "rue", "f": "alse", "n": "ull"}
DIGITS = "0123456789"
# A number's states: what may follow in each. It may end in those of NUMBER_ENDS only.
NUMBER: dict[str, list[tuple[str, str]]] = {
    "minus": [("0", "zero"), ("123456789", "whole")],
    "zero": [(".", "point"), ("eE", "e")],
    "whole": [(DIGITS, "whole"), (".", "point"), ("eE", "e")],
    "point": [(DIGITS, "fraction")],
    "fraction": [(DIGITS, "fraction"), ("eE", "e")],
    "e": [("+-", "sign"), (DIGITS, "exponent")],
    "sign": [(DIGITS, "exponent")],
    "exponent": [(DIGITS, "exponent")],
}
NUMBER_STARTS = {"-": "minus", "0": "zero", **dict.fromkeys("123456789", "whole")}
NUMBER_ENDS = {"zero", "whole", "fraction", "exponent"}


class Progress(enum.Enum):
    """How a scanned object stands."""

    OPEN = "open"  # sound so far; more must come
    WHOLE = "whole"
    BROKEN = "broken"  # no text whatever could make it JSON


class _Expect(enum.Enum):
    """What may come next."""

    OBJECT = enum.auto()
    VALUE = enum.auto()
    ITEM = enum.auto()  # a value, or the end of an empty array
    NAME = enum.auto()
    MEMBER = enum.auto()  # a name, or the end of an empty object
    COLON = enum.auto()
    END = enum.auto()  # after a value: a comma or the end of what holds it
    STRING = enum.auto()
    ESCAPE = enum.auto()
    CODE = enum.auto()  # four hexadecimal digits
    WORD = enum.auto()
    NUMBER = enum.auto()


class ObjectScanner:
    """Follows one JSON object. Give it the text in any pieces: the outcome is the same."""

    def __init__(self) -> None:
        self.progress = Progress.OPEN
        self._expect = _Expect.OBJECT
        self._stack: list[str] = []  # the brackets that must still come
        self._naming = False  # the string is a member's name
        self._rest = ""  # of a word: what must still come
        self._code = 0  # hexadecimal digits that must still come
        self._number = ""  # a state of NUMBER

    def feed(self, text: str) -> tuple[str, int]:
        """More text; returns what of it belongs to the object, and how many characters that took.

        A control character in a string is given back escaped, as JSON demands: models write line breaks there. Reading
        stops at the object's end, or before the first character that no JSON has there; `progress` tells which.
        """
        sound, at, start = list[str](), 0, 0
        while at < len(text) and self.progress is Progress.OPEN:
            if self._expect is _Expect.STRING:
                if plain := PLAIN.match(text, at):
                    at = plain.end()
                    continue
                if text[at] < " ":
                    sound += [text[start:at], json.dumps(text[at])[1:-1]]
                    at = start = at + 1
                    continue
            if self._take(text[at]):
                at += 1
            else:
                self.progress = Progress.BROKEN
        sound.append(text[start:at])
        return "".join(sound), at

    def _take(self, char: str) -> bool:
        """One character; False: it cannot stand here."""
        if self._expect is _Expect.NUMBER:
            following = next((state for chars, state in NUMBER[self._number] if char in chars), None)
            if following is not None:
                self._number = following
                return True
            if self._number not in NUMBER_ENDS:
                return False
            self._expect = _Expect.END
        if self._expect in (_Expect.STRING, _Expect.ESCAPE, _Expect.CODE, _Expect.WORD):
            return self._inside(char)
        return char in SPACE or self._between(char)

    def _inside(self, char: str) -> bool:
        """Within a string or a word."""
        if self._expect is _Expect.STRING:  # plain characters are taken in feed
            if char == '"':
                self._expect = _Expect.COLON if self._naming else _Expect.END
            else:
                self._expect = _Expect.ESCAPE
            return True
        if self._expect is _Expect.ESCAPE:
            self._expect, self._code = (_Expect.CODE, 4) if char == "u" else (_Expect.STRING, 0)
            return char == "u" or char in SIMPLE_ESCAPES
        if self._expect is _Expect.CODE:
            self._code -= 1
            self._expect = _Expect.CODE if self._code else _Expect.STRING
            return char in HEX
        sound, self._rest = self._rest.startswith(char), self._rest[1:]
        self._expect = _Expect.WORD if self._rest else _Expect.END
        return sound

    def _between(self, char: str) -> bool:
        """Between strings, words and numbers."""
        expect = self._expect
        if expect is _Expect.COLON:
            self._expect = _Expect.VALUE
            return char == ":"
        if char == '"' and expect in (_Expect.NAME, _Expect.MEMBER):
            self._naming, self._expect = True, _Expect.STRING
            return True
        if char in "}]" and expect in (_Expect.END, _Expect.MEMBER, _Expect.ITEM):
            return self._close(char)
        if expect is _Expect.END:
            self._expect = _Expect.NAME if self._stack[-1] == "}" else _Expect.VALUE
            return char == ","
        if expect is _Expect.OBJECT:
            return char == "{" and self._open("}", _Expect.MEMBER)
        return expect in (_Expect.VALUE, _Expect.ITEM) and self._begin(char)

    def _begin(self, char: str) -> bool:
        """The first character of a value."""
        if char == "{":
            return self._open("}", _Expect.MEMBER)
        if char == "[":
            return self._open("]", _Expect.ITEM)
        if char == '"':
            self._naming, self._expect = False, _Expect.STRING
        elif char in WORDS:
            self._rest, self._expect = WORDS[char], _Expect.WORD
        elif char in NUMBER_STARTS:
            self._number, self._expect = NUMBER_STARTS[char], _Expect.NUMBER
        else:
            return False
        return True

    def _open(self, bracket: str, expect: _Expect) -> bool:
        self._stack.append(bracket)
        self._expect = expect
        return len(self._stack) <= MAX_DEPTH

    def _close(self, bracket: str) -> bool:
        if self._stack.pop() != bracket:
            return False
        self._expect = _Expect.END
        if not self._stack:
            self.progress = Progress.WHOLE
        return True
