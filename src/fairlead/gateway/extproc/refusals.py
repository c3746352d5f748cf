"""Answers to requests whose bodies the picker does not get, or not whole."""

from __future__ import annotations

from fairlead.gateway import errors
from fairlead.gateway.errors import Reply
from fairlead.gateway.route import RequestHead


def in_form_of(head: RequestHead, reply: Reply) -> Reply:
    """The refusal in the form of the protocol that was asked."""
    return errors.shaped(reply, errors.shape_of(head.target.partition("?")[0]))


def too_large_for_gateway(sent_bytes: int) -> Reply:
    """A gateway with the mode BUFFERED_PARTIAL sends only what its buffer takes."""
    return Reply(
        413,
        errors.error_body(
            f"The gateway passed on only the first {sent_bytes} bytes of the request body. Raise its buffer limit, or "
            "let it send bodies as FULL_DUPLEX_STREAMED.",
            "invalid_request_error",
            "request_too_large",
        ),
        "request_too_large",
    )


def body_timeout() -> Reply:
    """The client sends its body too slowly, or not at all."""
    return Reply(
        408,
        errors.error_body("The request body did not arrive in time.", "invalid_request_error", "request_timeout"),
        "request_timeout",
    )


def no_memory() -> Reply:
    """Bodies of other requests take all the memory there is for them."""
    return errors.unavailable(
        "The gateway is reading as many large requests as it has memory for.", "gateway_memory", 1
    )


def no_body_sent(mode: str) -> Reply:
    """The gateway is set up so that the picker cannot read the model's name."""
    return Reply(
        500,
        errors.error_body(
            f"The gateway sends the endpoint picker no request bodies before it routes (mode {mode}), but the body "
            "names the model. Set `request_body_mode` to FULL_DUPLEX_STREAMED.",
            "server_error",
            "gateway_misconfigured",
        ),
        "gateway_misconfigured",
    )
