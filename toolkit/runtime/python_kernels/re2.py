r"""RE2's regular expressions in the dialect of Python's `re`.

What both have but mean differently is rewritten: the classes of ASCII characters, flags in the
middle of a pattern, POSIX classes, quoted text, the end of the text, hexadecimal and octal codes,
general categories of Unicode. What RE2 refuses is refused: back-references, look-around, possessive
repetition, atomic groups, conditions, more than 1,000 repetitions.

Deliberately absent: classes of scripts (`\p{Greek}`) and single bytes (`\C`), which fail with a
clear error. Unlike RE2's, the time of a match is not linear in the text for every pattern.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from itertools import groupby

from toolkit.errors import InvalidArgumentError

_PERL = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_NOT_PERL = {
    "d": r"\x00-/:-\U0010FFFF",
    "w": r"\x00-/:-@\[-\^`{-\U0010FFFF",
    "s": r"\x00-\x08\x0b\x0e-\x1f!-\U0010FFFF",
}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_CONTROL = {"a": r"\x07", "f": r"\x0c", "t": r"\t", "n": r"\n", "r": r"\r", "v": r"\x0b"}
_SPECIAL = frozenset(r"\.+*?()|[]{}^$-&~# ")
_MOST_REPETITIONS = 1000


def to_python(pattern: str) -> str:
    """The pattern of Python's `re` that matches what RE2's `pattern` matches.

    Raises:
        InvalidArgumentError: RE2 refuses the pattern, or it asks for what is not available.
    """
    return _Translator(pattern).run()


class _Translator:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0

    def fail(self, need: str, got: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"attribute 'pattern': {need} in RE2's syntax, got {got} in {self.text!r}."
        )

    def run(self) -> str:
        result = self.alternatives("", False)
        if self.at < len(self.text):
            raise self.fail("each ')' must close a group", f"one at {self.at}")
        return result

    def alternatives(self, flags: str, grouped: bool) -> str:
        """The rest of a group. Flags that change within it hold up to its end, over every '|'."""
        out: list[str] = []
        opened = 0
        repeatable = False
        while self.at < len(self.text) and self.text[self.at] != ")":
            c = self.text[self.at]
            if c == "|":
                out.append("|")
                self.at += 1
                repeatable = False
            elif c == "(" and (change := self.flags()) is not None:
                flags = _merged(flags, change)
                out.append(_scope(flags))
                opened += 1
                repeatable = False
            elif c in "*+?" or (c == "{" and self.count() is not None):
                out.append(self.repetition(flags, repeatable))
                repeatable = False
            else:
                out.append(self.atom(flags))
                repeatable = True
        body = "".join(out)
        if opened:
            body = _rescoped(out)
        if grouped:
            if self.at >= len(self.text):
                raise self.fail("each '(' must be closed", "one that is not")
            self.at += 1
        return body

    def flags(self) -> tuple[str, str] | None:
        """Flags such as (?i-s) that hold from here on: those set and those cleared."""
        found = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?\)").match(self.text, self.at)
        if found is None or not (found[1] or found[2]):
            return None
        self.at = found.end()
        return found[1], found[2] or ""

    def count(self) -> re.Match[str] | None:
        return re.compile(r"\{(\d+)(,(\d*))?\}").match(self.text, self.at)

    def repetition(self, flags: str, repeatable: bool) -> str:
        if not repeatable:
            raise self.fail(
                "a repetition must follow what is repeated", f"'{self.text[self.at]}' at {self.at}"
            )
        if self.text[self.at] == "{":
            found = self.count()
            assert found is not None
            if max(int(n) for n in (found[1], found[3]) if n) > _MOST_REPETITIONS:
                raise self.fail(f"at most {_MOST_REPETITIONS} repetitions are allowed", found[0])
            operator = found[0]
        else:
            operator = self.text[self.at]
        self.at += len(operator)
        lazy = self.text[self.at : self.at + 1] == "?"
        self.at += lazy
        if self.text[self.at : self.at + 1] in ("+", "*", "?") and self.at < len(self.text):
            raise self.fail("a repetition cannot be repeated", f"'{self.text[self.at]}'")
        return operator + ("?" if lazy != ("U" in flags) else "")

    def atom(self, flags: str) -> str:
        c = self.text[self.at]
        if c == "(":
            return self.group(flags)
        if c == "[":
            return self.bracket()
        if c == "\\":
            return self.escape()
        self.at += 1
        if c == "$" and "m" not in flags:
            return r"\Z"
        return c if c in ".^$" else _literal(c)

    def group(self, flags: str) -> str:
        if not self.text.startswith("(?", self.at):
            self.at += 1
            return f"(?:{self.alternatives(flags, True)})"  # Nobody asks what a group matched.
        found = re.compile(r"\(\?(?:P?<(\w+)>|([imsU]*)(?:-([imsU]+))?:)").match(self.text, self.at)
        if found is None:
            raise self.fail(
                "a group must be (…), (?:…), (?flags:…) or (?P<name>…)",
                f"'{self.text[self.at : self.at + 4]}'",
            )
        self.at = found.end()
        if found[1] is not None:
            return f"(?:{self.alternatives(flags, True)})"
        inner = _merged(flags, (found[2], found[3] or ""))
        return f"{_scope(inner)}{self.alternatives(inner, True)})"

    def escape(self) -> str:
        c = self.text[self.at + 1 : self.at + 2]
        if c == "Q":
            end = self.text.find("\\E", self.at)
            quoted = self.text[self.at + 2 : None if end < 0 else end]
            self.at = len(self.text) if end < 0 else end + 2
            return f"(?:{''.join(map(_literal, quoted))})"
        simple = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}
        if c in simple and c:
            self.at += 2
            return simple[c]
        return f"[{self.class_escape()}]"

    def class_escape(self) -> str:
        """An escape as part of a character class."""
        c = self.text[self.at + 1 : self.at + 2]
        if c in ("d", "w", "s"):
            self.at += 2
            return _PERL[c]
        if c in ("D", "W", "S"):
            self.at += 2
            return _NOT_PERL[c.lower()]
        if c in ("p", "P"):
            return self.property(c == "P")
        return _literal(self.character())

    def character(self) -> str:
        """The character that an escape stands for."""
        hexadecimal = re.compile(r"\\x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))")
        octal = re.compile(r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})")
        c = self.text[self.at + 1 : self.at + 2]
        if found := hexadecimal.match(self.text, self.at):
            code = int(found[1] or found[2], 16)
        elif found := octal.match(self.text, self.at):
            code = int(found[1], 8)
        elif c in _CONTROL and c:
            self.at += 2
            return str({"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}[c])
        elif c and not (c.isalnum() and c.isascii()):
            self.at += 2
            return c
        else:
            need = "an escape that is available is required"
            raise self.fail(need, f"'\\{c}'" if c else "'\\' at the end")
        if code > sys.maxunicode:
            raise self.fail("a code point is required", f"{code:x}")
        self.at = found.end()
        return chr(code)

    def property(self, negated: bool) -> str:
        found = re.compile(r"\\[pP](?:\{(\^?)(\w+)\}|(\w))").match(self.text, self.at)
        if found is None:
            raise self.fail("a property such as \\pL or \\p{Lu} is required", "none")
        name = found[2] or found[3]
        ranges = _category(name, negated != bool(found[1]))
        if ranges is None:
            need = "a general category of Unicode is required (scripts are not available)"
            raise self.fail(need, f"'{name}'")
        self.at = found.end()
        return ranges

    def bracket(self) -> str:
        begin = self.at
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        parts: list[str] = []
        while not (self.text.startswith("]", self.at) and parts):
            if self.at >= len(self.text):
                raise self.fail("each '[' must be closed", f"'{self.text[begin:]}'")
            parts.append(self.bracket_part())
        self.at += 1
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def bracket_part(self) -> str:
        if found := re.compile(r"\[:(\^?)(\w+):\]").match(self.text, self.at):
            if found[2] not in _POSIX:
                raise self.fail("a POSIX class is required", f"'{found[0]}'")
            self.at = found.end()
            ranges = _POSIX[found[2]]
            return _complement(ranges) if found[1] else ranges
        if self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in tuple("dwsDWSpP"):
            return self.class_escape()
        low = self.member()
        if not self.text.startswith("-", self.at) or self.text.startswith("-]", self.at):
            return _literal(low)
        self.at += 1
        if self.at >= len(self.text):
            raise self.fail("a range must have an end", "none")
        high = self.member()
        if high < low:
            raise self.fail("a range must not be empty", f"'{low}-{high}'")
        return f"{_literal(low)}-{_literal(high)}"

    def member(self) -> str:
        if self.text[self.at] == "\\":
            return self.character()
        self.at += 1
        return self.text[self.at - 1]


def _literal(c: str) -> str:
    return f"\\{c}" if c in _SPECIAL else c


def _merged(flags: str, change: tuple[str, str]) -> str:
    on, off = change
    return "".join(sorted((set(flags) | set(on)) - set(off)))


def _scope(flags: str) -> str:
    """The beginning of a group with exactly these flags; U is ours to honour."""
    on = "".join(f for f in "ims" if f in flags)
    off = "".join(f for f in "ims" if f not in flags)
    return f"(?{on}{'-' + off if off else ''}:"


def _rescoped(out: list[str]) -> str:
    """Closes the scopes that opened at flags, and opens them anew after each '|' between."""
    result: list[str] = []
    scope = ""
    for part in out:
        if part.startswith("(?") and part.endswith(":"):
            result.append((")" if scope else "") + part)
            scope = part
        elif part == "|" and scope:
            result.append(f")|{scope}")
        else:
            result.append(part)
    return "".join(result) + (")" if scope else "")


@functools.cache
def _category(name: str, negated: bool) -> str | None:
    """Ranges of the characters of a general category, as "L" or "Lu"; None for another name."""
    if name == "Any" and not negated:
        return r"\x00-\U0010FFFF"
    known = {unicodedata.category(chr(c)) for c in range(0x3000)} | {"Co", "Cs", "Cn"}
    if name not in known and name not in {k[0] for k in known}:
        return None
    codes = [
        c
        for c in range(sys.maxunicode + 1)
        if unicodedata.category(chr(c)).startswith(name) != negated
    ]
    return _ranges(codes)


@functools.cache
def _complement(ranges: str) -> str:
    inside = re.compile(f"[{ranges}]")
    return _ranges([c for c in range(sys.maxunicode + 1) if not inside.match(chr(c))])


def _ranges(codes: list[int]) -> str:
    """Ascending code points as ranges of a character class."""
    parts = []
    for _, group in groupby(enumerate(codes), lambda pair: pair[1] - pair[0]):
        run = [code for _, code in group]
        parts.append(f"\\U{run[0]:08x}-\\U{run[-1]:08x}")
    return "".join(parts)
