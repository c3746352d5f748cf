"""The arguments of a server's command line, looked up by the names of its flags. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.serving.adoption.shell import unknown


class Arguments:
    """Words after the program. Flags are compared without telling `_` from `-`, as most servers do."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    def values(self, *flags: str) -> list[list[str]]:
        """The values of each occurrence in order: `--flag=value`, or the words up to the next flag."""
        found: list[list[str]] = []
        takes = False
        for word in self._words:
            name, equals, value = word.partition("=")
            if word.startswith("-") and len(word) > 1:
                takes = not equals and _same(name, flags)
                if _same(name, flags):
                    found.append([value] if equals else [])
            elif takes:
                found[-1].append(word)
        return found

    def value(self, *flags: str) -> str | None:
        """The value of the last occurrence, which is the one that counts; None where the flag is not given."""
        found: str | None = None
        previous = ""
        for word in self._words:
            name, equals, value = word.partition("=")
            if equals and _same(name, flags):
                found = value
            elif _same(previous, flags):
                found = word
            previous = word
        return found

    def has(self, *flags: str) -> bool:
        return any(_same(word.partition("=")[0], flags) for word in self._words)

    def positional(self) -> str | None:
        """The word right after the program, unless it is a flag: further on nobody can tell it from a flag's value."""
        first = self._words[0] if self._words else None
        return None if first is None or first.startswith("-") else first

    def open(self) -> tuple[str, ...]:
        """What stands for any number of arguments that are not known, as `$EXTRA_ARGS` does."""
        found = []
        previous = ""
        for n, word in enumerate(self._words):
            parts = unknown(word)
            is_whole = len(parts) == 1 and word.startswith("\x00") and word.endswith("\x00")
            if is_whole and n > 0 and not (previous.startswith("-") and "=" not in previous):
                found.append(parts[0])
            previous = word
        return tuple(found)


def _same(name: str, flags: Sequence[str]) -> bool:
    return name.startswith("-") and name.replace("_", "-") in (flag.replace("_", "-") for flag in flags)
