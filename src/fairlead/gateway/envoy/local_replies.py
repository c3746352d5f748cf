"""Envoy's own errors in the form of the API that was asked; the picker's answers pass as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from fairlead.gateway.envoy.typed import extension

_ANTHROPIC_PATH = "/v1/messages"


class _Case(NamedTuple):
    """Errors of Envoy that are told in the same words."""

    filter: dict[str, Any]
    code: str
    message: str
    type: str = "service_unavailable_error"
    anthropic_type: str = "overloaded_error"
    retry: bool = True


def local_replies() -> dict[str, Any]:
    """`local_reply_config`: the first mapper that fits is taken."""
    return {"mappers": [mapper for case in _cases() for mapper in (_anthropic(case), _openai(case))]}


def _cases() -> list[_Case]:
    return [
        _Case(_details("ext_proc_error"), "picker_unavailable", "The gateway is restarting its endpoint picker."),
        _Case(_flags("UF", "UH", "URX"), "endpoint_unreachable", "No endpoint accepted the connection."),
        _Case(_flags("UC", "UR", "UPE"), "endpoint_died", "The endpoint ended the connection before it answered."),
        _Case(
            _flags("SI", "UT"),
            "endpoint_timeout",
            "The endpoint was silent for longer than the gateway waits.",
            "timeout_error",
            "timeout_error",
        ),
        _refusal(_details("request_overall_timeout"), "request_timeout", "The request body did not arrive in time."),
        _Case(_details("overload"), "gateway_overloaded", "The gateway is short of memory."),
        _Case(
            _own_error(500),
            "gateway_error",
            "The gateway failed at this request (%RESPONSE_CODE_DETAILS%).",
            "server_error",
            "api_error",
            retry=False,
        ),
        _refusal(_own_error(400), "invalid_request", "The gateway refused the request (%RESPONSE_CODE_DETAILS%)."),
    ]


def _refusal(filter: dict[str, Any], code: str, message: str) -> _Case:
    return _Case(filter, code, message, "invalid_request_error", "invalid_request_error", retry=False)


def _openai(case: _Case) -> dict[str, Any]:
    error = {"message": case.message, "type": case.type, "param": None, "code": case.code}
    return _mapper(case, case.filter, {"error": error})


def _anthropic(case: _Case) -> dict[str, Any]:
    path = {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": _ANTHROPIC_PATH}}}}
    error = {"type": case.anthropic_type, "message": case.message}
    return _mapper(case, {"and_filter": {"filters": [path, case.filter]}}, {"type": "error", "error": error})


def _mapper(case: _Case, filter: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    mapper: dict[str, Any] = {
        "filter": filter,
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }
    if case.retry:
        mapper["headers_to_add"] = [{"header": {"key": "retry-after", "value": "1"}}]
    return mapper


def _flags(*names: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(names)}}


def _details(prefix: str) -> dict[str, Any]:
    return _expression(f"has(response.code_details) && response.code_details.startsWith('{prefix}')")


def _own_error(least_code: int) -> dict[str, Any]:
    """An error that the picker did not word: its answers have details of their own."""
    return _expression(
        f"response.code >= {least_code} && has(response.code_details) && !response.code_details.startsWith('fairlead_')"
    )


def _expression(text: str) -> dict[str, Any]:
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=text,
        )
    }
