"""The picker's server as grpcio's client sees it: on its own transport and on the reference, plain and with TLS."""

from __future__ import annotations

import grpc
import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fairlead.gateway.extproc import FOREIGN, OWN
from fairlead.gateway.server import PickerServer
from fairlead.gateway.transport import ServerTls
from gateway.extproc.support import Table, answer_body, answer_headers, body, headers, set_headers


@pytest.fixture(params=[False, True], ids=["own", "reference"])
async def server(request):
    one = PickerServer(Table(), reference=request.param)
    yield one
    await one.stop(0)


@pytest.mark.parametrize("secure", [False, True])
async def test_a_request_is_routed_and_the_call_ends(server, secure):
    tls = ServerTls.self_signed() if secure else None
    address = await server.start("127.0.0.1:0", OWN, tls=tls)
    credentials = grpc.ssl_channel_credentials(tls.certificate) if tls else None
    channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    async with channel:

        async def messages():
            yield headers()
            yield body(b'{"model": "m"}', end=True)

        answers = [a async for a in ext_proc.ExternalProcessorStub(channel).Process(messages())]
    assert [a.WhichOneof("response") for a in answers] == ["request_headers", "request_body"]
    assert set_headers(answers[0])["x-gateway-destination-endpoint"] == b"10.0.0.1:80"


async def test_a_foreign_gateway_is_observed_to_the_end(server, tmp_path):
    address = await server.start(f"unix:{tmp_path / 'p.sock'}", FOREIGN)
    async with grpc.aio.insecure_channel(address) as channel:
        call = ext_proc.ExternalProcessorStub(channel).Process()
        for message, answers in (
            (headers(modes=(4, 4)), 0),
            (body(b'{"model": "m"}', end=True), 2),
            (answer_headers(served="10.0.0.1:80"), 1),
            (answer_body(b'{"usage": {"prompt_tokens": 3}}', end=True), 1),
        ):
            await call.write(message)
            for _ in range(answers):
                assert await call.read() is not grpc.aio.EOF
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    (done,) = server._directing.completions
    assert (done.served, done.prompt_tokens, done.client_left) == ("10.0.0.1:80", 3, False)


async def test_ends_come_from_the_access_log(server):
    address = await server.start("127.0.0.1:0")
    routed, answered = accesslog_pb2.HTTPAccessLogEntry(), accesslog_pb2.HTTPAccessLogEntry()
    routed.request.request_headers["x-fairlead-pick"] = "r-1"
    routed.response.response_code.value = 200
    common = routed.common_properties
    common.duration.FromMilliseconds(1500)
    common.time_to_first_downstream_tx_byte.FromMilliseconds(100)
    common.time_to_first_upstream_rx_byte.FromMilliseconds(90)
    common.custom_tags["first_body_us"] = "250000"
    common.upstream_request_attempt_count = 2
    common.upstream_remote_address.socket_address.address = "fd00::1"
    common.upstream_remote_address.socket_address.port_value = 8000
    usage = common.metadata.filter_metadata["fairlead.usage"]
    usage["prompt"], usage["events"], usage["token_wait_ms"] = 7, 9, 500
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.extend([routed, answered])
    async with grpc.aio.insecure_channel(address) as channel:

        async def batches():
            yield message

        await als_pb2_grpc.AccessLogServiceStub(channel).StreamAccessLogs(batches())
    (done,) = server._directing.completions
    assert (done.pick_id, done.code, done.duration_s, done.first_byte_s) == ("r-1", 200, 1.5, 0.75)
    assert (done.attempts, done.served, done.connect_failed) == (2, "[fd00::1]:8000", True)
    assert (done.prompt_tokens, done.output_tokens, done.cached_tokens, done.stream_events) == (7, None, None, 9)


async def test_health_is_beside_the_picker_and_on_an_address_of_its_own(server):
    for address in (await server.start("127.0.0.1:0"), await server.start_health("127.0.0.1:0")):
        async with grpc.aio.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            for ready, expected in ((True, 1), (False, 2)):
                server.health.set(ready)
                for name in ("readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor", ""):
                    assert (await check(health_pb2.HealthCheckRequest(service=name))).status == expected
            assert (await check(health_pb2.HealthCheckRequest(service="liveness"))).status == 1


async def test_an_address_that_is_taken_is_an_error(server):
    address = await server.start("127.0.0.1:0")
    with pytest.raises(OSError):
        await PickerServer(Table()).start(address)
