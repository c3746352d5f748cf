"""Secret: plain text turned into data, what each type of secret must hold, and secrets that are fixed for good."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required, too_long
from fairlead.embedded.apiserver.kinds.config_map import SIZE_LIMIT_BYTES, check_fixed, decoded_size
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import config_map_key
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.embedded.apiserver.schema.json_syntax import kind_name, syntax_error

_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_DOCKER_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


class SecretStrategy(ObjectStrategy):
    metadata_rechecks = 1

    def default(self, obj: Object) -> None:
        plain = obj.pop("stringData", None)
        if plain:
            data = obj.setdefault("data", {})
            for key, text in plain.items():
                data[key] = base64.b64encode(text.encode()).decode()
        if not obj.get("type"):
            obj["type"] = "Opaque"

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        # A client that does not know the type keeps it.
        if not new.get("type"):
            new["type"] = old.get("type", "")

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        data: Mapping[str, str] = obj.get("data") or {}
        size = 0
        for key, encoded in data.items():
            add_each(errors, f"data[{key}]", key, config_map_key(key))
            size += decoded_size(encoded)
        if size > SIZE_LIMIT_BYTES:
            errors.append(too_long("data", SIZE_LIMIT_BYTES))
        _validate_type(errors, obj, data)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        check_immutable(errors, new.get("type"), old.get("type"), "type")
        check_fixed(errors, new, old, ("data",))
        errors += self.validate(new, context)
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        if obj.get("type") != "kubernetes.io/tls":
            return ()
        data = obj.get("data") or {}
        if old is not None and data == (old.get("data") or {}):
            return ()
        for key, noun in (("tls.crt", "certificate"), ("tls.key", "key")):
            if b"-----BEGIN " not in base64.b64decode(data.get(key, "")):
                return (f"tls: failed to find any PEM data in {noun} input",)
        return ()


def _validate_type(errors: Errors, obj: Object, data: Mapping[str, str]) -> None:
    kind = obj.get("type")
    if kind == "kubernetes.io/service-account-token":
        if not (obj["metadata"].get("annotations") or {}).get(_ACCOUNT_NAME):
            errors.append(required(f"metadata.annotations[{_ACCOUNT_NAME}]"))
    elif kind in _DOCKER_KEYS:
        _validate_docker_config(errors, data, _DOCKER_KEYS[kind])
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errors += [required("data[username]"), required("data[password]")]
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            errors.append(required("data[ssh-privatekey]"))
    elif kind == "kubernetes.io/tls":
        errors += [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]


def _validate_docker_config(errors: Errors, data: Mapping[str, str], key: str) -> None:
    if key not in data:
        errors.append(required(f"data[{key}]"))
        return
    text = base64.b64decode(data[key])
    problem = syntax_error(text)
    if problem is None:
        value = json.loads(text)
        if not isinstance(value, dict | None):
            problem = f"json: cannot unmarshal {kind_name(value)} into Go value of type map[string]interface {{}}"
    if problem is not None:
        errors.append(invalid(f"data[{key}]", "<secret contents redacted>", problem))
