"""Why a target cannot be asked, or not well: the field that is wrong, its value, and what to write instead.

Pure: from what came of one request, and from what is known of the server.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.config.target import Target
from fairlead.bench.targets.address import has_key, split
from fairlead.bench.targets.exchange import Exchange
from fairlead.bench.targets.identity import listed
from fairlead.bench.targets.sending import Sending, Server

PREVIEW = 300


class Problem(msgspec.Struct, frozen=True):
    """`fatal`: no request can succeed. Otherwise the run can be made, and its figures mean less."""

    field: str
    value: Any
    why: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.field} is {self.value!r}: {self.why}; {self.remedy}"


def shown_url(target: Target) -> str:
    """Without credentials."""
    parts = split(target)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def unreached(target: Target, found: Exchange, speaks_tls: bool) -> Problem:
    """Nothing answered."""
    url, parts = shown_url(target), split(target)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if found.failure == "tls":
        return _tls(target, found.detail, url)
    if speaks_tls and parts.scheme == "http":
        return Problem("url", url, "the server speaks TLS", f"write {url.replace('http://', 'https://', 1)}")
    if found.failure == "name":
        return Problem("url", url, f"no address is known for {parts.hostname} ({found.detail})", "correct the host")
    if found.failure == "refused":
        return Problem("url", url, f"nothing listens at {where} ({found.detail})", "start the server, or correct url")
    if found.failure == "connect-timeout":
        why = f"no connection to {where} within {target.connect_timeout_s:g} s"
        return Problem("url", url, why, "correct the address, or open the way to it")
    if found.failure == "not-http":
        return Problem("url", url, f"what answers is not HTTP ({found.detail})", "correct the port")
    return Problem("url", url, found.detail or "it does not answer", "see whether the server is well")


def _tls(target: Target, detail: str, url: str) -> Problem:
    lower = detail.lower()
    if "wrong version" in lower or "record layer" in lower or "http request" in lower:
        return Problem("url", url, "the server does not speak TLS", f"write {url.replace('https://', 'http://', 1)}")
    if "hostname mismatch" in lower or "ip address mismatch" in lower or "doesn't match" in lower:
        value = target.tls.server_name
        return Problem("tls.server_name", value, f"the certificate is another's ({detail})", "write the name in it")
    if "certificate required" in lower or "handshake failure" in lower or "bad certificate" in lower:
        value, why = target.tls.client_certificate, f"the server wants a certificate of its clients ({detail})"
        return Problem("tls.client_certificate", value, why, "name the file of one that it trusts")
    if "verify failed" in lower or "self-signed" in lower or "self signed" in lower:
        remedy = "name the file of the CA that signed it, or set tls.insecure"
        return Problem("tls.ca_file", target.tls.ca_file, f"the server's certificate does not pass ({detail})", remedy)
    return Problem("url", url, f"TLS fails ({detail})", "see what versions of TLS the server takes")


def message_of(found: Exchange) -> str:
    """What the server gives as the reason, out of the usual forms of errors."""
    value = found.json()
    for path in (("error", "message"), ("error",), ("message",), ("detail",)):
        at = value
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, str) and at:
            return at[:PREVIEW]
    return found.said()[:PREVIEW]


def model_is_wrong(target: Target, found: Exchange, server: Server) -> bool:
    """Whether the refusal is of the model."""
    if found.status not in (400, 404, 422):
        return False
    if server.models:
        return target.model not in server.models
    said = message_of(found).lower()
    return "model" in said and any(
        word in said for word in ("not exist", "not found", "unknown", "no such", "required")
    )


def wrong_model(target: Target, server: Server, said: str) -> Problem:
    known = f"write one of {listed(server.models)}" if server.models else "write a name that the server has"
    return Problem("model", target.model, f"the server has no such model ({said})", known)


def refused(target: Target, found: Exchange, server: Server, path: str, others: tuple[str, ...]) -> Problem:
    """An answer of 300 or more. `others`: paths that this server does have."""
    status, said, url = found.status, message_of(found), shown_url(target)
    if status < 400:
        to = found.headers.get("location", "nowhere")
        return Problem("url", url, f"{path} is redirected to {to}, which is not followed", "write where it leads")
    if status in (401, 403):
        field = "key_file" if target.key_file is not None else "key_env"
        what = "the key that is sent is not accepted" if has_key(target) else "no key is sent"
        named = target.key_file if target.key_file is not None else target.key_env
        return Problem(field, named, f"{what} ({status}: {said})", "name where a key of this server is")
    if model_is_wrong(target, found, server):
        return wrong_model(target, server, said)
    if status in (404, 405):
        remedy = f"it has {', '.join(others)}: correct url, path or api" if others else "correct url or path"
        return Problem("path", target.path or path, f"the server has no such page ({status})", remedy)
    if status == 429:
        return Problem("url", url, f"the server limits requests ({said})", "raise its limit, or the load will", False)
    if status == 503:
        return Problem("url", url, f"the server is not ready ({said})", "wait until it is")
    if status >= 500:
        return Problem("url", url, f"the server fails ({status}: {said})", "look into its log")
    field, given = ("parameters", sorted(target.parameters)) if target.parameters else ("api", target.api)
    return Problem(field, given, f"the server refuses the request ({status}: {said})", "correct what it names")


def weaker(target: Target, sent: Sending, found: Exchange) -> Sending | None:
    """What to send instead, when the server refuses a field by name that not every server takes."""
    said = found.said()
    if "max_completion_tokens" in said and target.length_field is None:
        other = "max_tokens" if sent.length_field == "max_completion_tokens" else "max_completion_tokens"
        return msgspec.structs.replace(sent, length_field=other)
    if sent.ignore_eos and "ignore_eos" in said:
        return msgspec.structs.replace(sent, ignore_eos=False)
    if sent.continuous_usage and "continuous_usage" in said:
        return msgspec.structs.replace(sent, continuous_usage=False)
    if sent.usage and ("stream_options" in said or "include_usage" in said):
        return msgspec.structs.replace(sent, usage=False, continuous_usage=False)
    return None


def shortcomings(target: Target, found: Exchange, streams: bool, has_text: bool, asked: int) -> list[Problem]:
    """Of an answer that came: what the run's figures will lack."""
    reading = found.reading
    if reading is None:
        return []
    if reading.error:
        return [Problem("url", shown_url(target), f"the answer is an error ({reading.error})", "look into its log")]
    problems = []
    if streams and not found.streamed:
        kind = found.headers.get("content-type", "no content type")
        why = f"the answer came in one piece ({kind}), and the time of its first token is that of its last"
        problems.append(Problem("stream", True, why, "set stream: false, or use a path that streams", False))
    if has_text and not found.events:
        problems.append(Problem("model", target.model, "the answer has no text", "ask another model or API", False))
    elif has_text and reading.output_tokens < 0:
        why = "answers do not say how many tokens they have: events are counted, or texts by the tokenizer"
        problems.append(Problem("tokenizer.source", target.tokenizer.source, why, "name the model's tokenizer", False))
    elif has_text and target.force_length and reading.output_tokens != asked:
        why = f"of {asked} tokens that were asked for {reading.output_tokens} came ({reading.finish or 'no reason'})"
        remedy = "take lengths for limits (force_length: false), or set the server's own field in parameters"
        problems.append(Problem("force_length", True, why, remedy, False))
    return problems
