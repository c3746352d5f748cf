"""The models of a server: its own names and the LoRA adapters that are loaded.

Messages and cards are those of vLLM 0.32, `entrypoints/openai/models/serving.py`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.errors import ApiError, no_such_model

_USER_INPUT = "InvalidUserInput"
_LOAD = f.Shape(
    {"lora_name": f.text, "lora_path": f.text, "load_inplace": f.boolean, "is_3d_lora_weight": f.boolean},
    required=("lora_name", "lora_path"),
)
_UNLOAD = f.Shape({"lora_name": f.text, "lora_int_id": f.optional(f.integer())}, required=("lora_name",))


@dataclass(frozen=True, slots=True)
class Adapter:
    """`number` counts adapters from 1, as vLLM's `lora_int_id` does."""

    name: str
    path: str
    number: int


class Models:
    """What may stand in a request's `model`. The first of `names` is the server's own."""

    def __init__(self, names: tuple[str, ...], *, root: str, max_model_len: int, created_s: int) -> None:
        self.names = names
        self.adapters: dict[str, Adapter] = {}
        self._root = root
        self._max_model_len = max_model_len
        self._created_s = created_s
        self._numbers = 0

    def resolve(self, model: str | None) -> tuple[str, str]:
        """(model as the answer names it, adapter or "") of a request's model. Raises ApiError."""
        if not model:
            return self.names[0], ""
        if model in self.names:
            return model, ""
        if model in self.adapters:
            return model, model
        raise no_such_model(model, self.names)

    def load(self, raw: Any) -> str:
        """Handle a body of /v1/load_lora_adapter. Raises ApiError."""
        body = f.checked(_LOAD, raw)
        name, path = body["lora_name"], body["lora_path"]
        if not name or not path:
            raise ApiError(400, "Both 'lora_name' and 'lora_path' must be provided.", type=_USER_INPUT)
        if name in self.names:
            raise ApiError(400, f"The lora adapter '{name}' conflicts with a served base model.", type=_USER_INPUT)
        if name in self.adapters and not body.get("load_inplace"):
            raise ApiError(
                400,
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True.",
                type=_USER_INPUT,
            )
        if path.startswith(("/", ".", "~")) and not Path(os.path.expanduser(path)).is_dir():
            raise ApiError(404, f"Loading lora {name} failed: No adapter found for {path}", type="NotFoundError")
        self.add({name: path})
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, raw: Any) -> str:
        """Handle a body of /v1/unload_lora_adapter. Raises ApiError."""
        name = f.checked(_UNLOAD, raw)["lora_name"]
        if not name:
            raise ApiError(400, "'lora_name' needs to be provided to unload a LoRA adapter.", type=_USER_INPUT)
        if name not in self.adapters:
            raise ApiError(404, f"The lora adapter '{name}' cannot be found.", type="NotFoundError")
        del self.adapters[name]
        return f"Success: LoRA adapter '{name}' removed successfully."

    def add(self, modules: Mapping[str, str]) -> None:
        """Adapters by name and path, without questions."""
        for name, path in modules.items():
            known = self.adapters.get(name)
            if known is None:
                self._numbers += 1
            self.adapters[name] = Adapter(name, path, self._numbers if known is None else known.number)

    def cards(self) -> dict[str, Any]:
        """The body of /v1/models."""
        base = [self._card(name, self._root, None, self._max_model_len) for name in self.names]
        loaded = [self._card(each.name, each.path, self.names[0], None) for each in self.adapters.values()]
        return {"object": "list", "data": base + loaded}

    def _card(self, name: str, root: str, parent: str | None, max_model_len: int | None) -> dict[str, Any]:
        permission = {
            "id": f"modelperm-{secrets.token_hex(8)}",
            "object": "model_permission",
            "created": self._created_s,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        return {
            "id": name,
            "object": "model",
            "created": self._created_s,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": max_model_len,
            "permission": [permission],
        }
