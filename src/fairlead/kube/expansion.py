"""`$(VAR)` in commands, arguments and environment values, as `core/v1` Container documents it.

`$$` stands for `$`; a reference to an unknown variable stays as written.
"""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    parts: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0 or dollar + 1 >= len(text):
            parts.append(text[position:])
            return "".join(parts)
        parts.append(text[position:dollar])
        following = text[dollar + 1]
        if following == "(":
            end = text.find(")", dollar)
            if end < 0:
                parts.append("$(")
                position = dollar + 2
            else:
                name = text[dollar + 2 : end]
                parts.append(variables.get(name, text[dollar : end + 1]))
                position = end + 1
        else:
            parts.append("$" if following == "$" else f"${following}")
            position = dollar + 2
