"""How those who call a coordinator over TCP prove that they belong to its run, and it to them.

The run's token, which only the pods of the run have, never goes over the wire. Each side sends a fresh nonce, and the
other answers with an HMAC (RFC 2104, SHA-256) over both nonces and who is calling. All sizes are fixed, and nothing
else is read before the proof is right:

    coordinator -> caller   magic, 8 bytes; nonce, 32
    caller -> coordinator   role, 1 byte; number, 4 (big-endian); nonce, 32; proof, 32
    coordinator -> caller   proof, 32

What follows is not encrypted: whoever may read a cluster's network reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import socket

MAGIC = b"FLBENCH1"
NONCE_BYTES = PROOF_BYTES = 32
WORKER, STOP = b"W", b"S"
"""Roles: a worker, which has a number; and the controller, which asks the run to end."""
GREET_WITHIN_S = 5.0
KEEPALIVE = (
    (socket.SO_KEEPALIVE, None, 1),
    (None, "TCP_KEEPIDLE", 5),
    (None, "TCP_KEEPINTVL", 3),
    (None, "TCP_KEEPCNT", 4),
    (None, "TCP_USER_TIMEOUT", 20_000),
)
"""A host that is gone without a word is noticed within some 20 s."""


class Stranger(ConnectionError):
    """Whoever is at the other end does not know the token of the run."""


async def greet(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: bytes, role: bytes, number: int = 0
) -> None:
    """As a caller. Raises Stranger, ConnectionError, and TimeoutError when it takes longer than GREET_WITHIN_S."""
    async with asyncio.timeout(GREET_WITHIN_S):
        theirs = await _read(reader, len(MAGIC) + NONCE_BYTES)
        if theirs[: len(MAGIC)] != MAGIC:
            raise Stranger("what answers is no coordinator of this version")
        nonce, who = secrets.token_bytes(NONCE_BYTES), role + number.to_bytes(4, "big")
        both = theirs[len(MAGIC) :] + nonce
        writer.write(who + nonce + proof(token, b"caller", who, both))
        if not hmac.compare_digest(await _read(reader, PROOF_BYTES), proof(token, b"coordinator", who, both)):
            raise Stranger("what answers does not know the token of the run")


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: bytes) -> tuple[bytes, int]:
    """As the coordinator: role and number of a caller, which has its proof then. Raises Stranger, ConnectionError and
    TimeoutError."""
    async with asyncio.timeout(GREET_WITHIN_S):
        mine = secrets.token_bytes(NONCE_BYTES)
        writer.write(MAGIC + mine)
        said = await _read(reader, 5 + NONCE_BYTES + PROOF_BYTES)
    who, theirs, given = said[:5], said[5 : 5 + NONCE_BYTES], said[5 + NONCE_BYTES :]
    both = mine + theirs
    if not hmac.compare_digest(given, proof(token, b"caller", who, both)):
        raise Stranger("the caller does not know the token of the run")
    writer.write(proof(token, b"coordinator", who, both))
    return who[:1], int.from_bytes(who[1:], "big")


def proof(token: bytes, side: bytes, who: bytes, nonces: bytes) -> bytes:
    """That `side` knows the token, in this conversation and no other."""
    return hmac.digest(token, b"fairlead bench\0" + side + b"\0" + who + nonces, hashlib.sha256)


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a peer that is gone, and send small messages at once."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for of_socket, of_tcp, value in KEEPALIVE:
        if of_socket is not None:
            sock.setsockopt(socket.SOL_SOCKET, of_socket, value)
        elif of_tcp is not None and (option := getattr(socket, of_tcp, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _read(reader: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError(f"the other end hung up after {len(error.partial)} of {count} bytes") from error
