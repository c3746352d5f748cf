"""A server of completions that shares nothing with Fairlead, not even installed packages: `python -I -S` runs it.

It notes when the *kernel* received each request (SO_TIMESTAMPNS, socket(7)), so that it need not be quick itself to be
right. Each answer says, as its usage's prompt tokens, the how manieth request it is of (from 1), so that records can be
told apart. Prints its port; the first connection that says anything but POST is given the arrivals as JSON, in seconds
of CLOCK_MONOTONIC, and ends it.
"""

import json
import selectors
import socket
import struct
import time

TIMESTAMP_NS = 35  # SO_TIMESTAMPNS and SCM_TIMESTAMPNS on 64-bit Linux
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(document: object) -> bytes:
    data = b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(number: int) -> bytes:
    text = {"index": 0, "text": " one", "delta": {"content": " one"}, "finish_reason": "length"}
    usage = {"prompt_tokens": number, "completion_tokens": 1, "total_tokens": number + 1}
    return HEAD + chunk({"choices": [text]}) + chunk({"choices": [], "usage": usage}) + chunk(b"[DONE]") + b"0\r\n\r\n"


def received_s(control: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == TIMESTAMP_NS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return seconds + nanoseconds / 1e9 - OFFSET_S
    raise SystemExit("the kernel says no time of receipt")


# What comes between the two readings makes it less: the greatest is the truest.
OFFSET_S = max(time.time() - time.monotonic() for _ in range(50))
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
listener.setsockopt(socket.SOL_SOCKET, TIMESTAMP_NS, 1)  # of accepted ones too, which inherit it
print(listener.getsockname()[1], flush=True)
poll = selectors.DefaultSelector()
poll.register(listener, selectors.EVENT_READ)
arrivals: list[float] = []
begun: dict[socket.socket, tuple[bytes, float]] = {}
while True:
    for key, _ in poll.select():
        if key.fileobj is listener:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(connection, selectors.EVENT_READ)
            continue
        connection = key.fileobj  # type: ignore[assignment]
        data, control, _, _ = connection.recvmsg(65536, 256)
        if not data:
            poll.unregister(connection)
            connection.close()
            continue
        before, first_s = begun.pop(connection, (b"", 0.0))
        if not before:
            first_s = received_s(control)
        data = before + data
        if not data.startswith(b"POST"):
            connection.sendall(json.dumps(arrivals).encode())
            raise SystemExit
        end = data.find(b"\r\n\r\n")
        at = data.lower().find(b"content-length:", 0, end)
        if end < 0 or len(data) < end + 4 + int(data[at + 15 : data.find(b"\r", at)]):
            begun[connection] = data, first_s
            continue
        arrivals.append(first_s)
        connection.sendall(answer(len(arrivals)))
