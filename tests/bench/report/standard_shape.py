"""The shape of llm-d's Benchmark Report v0.2 and v0.2.1, as its JSON Schemas publish it, and a check by it.

A line a struct: its fields with their kinds; `!` is required, `+` is of v0.2.1 alone, `*` takes any other field, `[…]`
is a list, `/` one kind or the other, `|` one of these words, `map` anything by name. Source: llm-d-benchmark,
`llmdbenchmark/analysis/benchmark_report/br_v0_2_json_schema.json` and `br_v0_2_1_json_schema.json`. Units of each
field, which only its `base.py` has, are beside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime

SHAPE = """
Report = version:str run:Run! scenario:Scenario results:Results!
AggregateLatency = time_to_first_token:Statistics normalized_time_per_output_token:Statistics
    time_per_output_token:Statistics inter_token_latency:Statistics request_latency:Statistics
AggregateRequestPerformance = requests:AggregateRequests latency:AggregateLatency throughput:AggregateThroughput
AggregateRequests = total:int>=0! failures:int>=0 incomplete:int>=0 input_length:Statistics output_length:Statistics
    +request_size:Statistics +multimodal:MultiModalRequests
AggregateThroughput = input_token_rate:Statistics output_token_rate:Statistics total_token_rate:Statistics
    request_rate:Statistics +image_rate:Statistics +video_rate:Statistics +audio_rate:Statistics
AudioPayloadStats = +count:Statistics +filesize:Statistics +duration:Statistics
Component = metadata:ComponentMetadata! standardized:Generic/InferenceEngine! native:ComponentNative!
ComponentHealth = component_label:str! total_restarts:int>=0 failed_replicas:int>=0 replica_health:[ReplicaHealth]
ComponentMetadata = schema_version:str label:str! cfg_id:str! description:str
ComponentNative = args:map envars:map config:any
ComponentObservability = component_label:str! replica_id:str aggregate:ResourceMetrics
    time_series:TimeSeriesResourceMetrics raw_data_path:str graph_path:str
ControllerReplicaStatus = kind:str! name:str! model:str role:str desired_replicas:int>=0! available_replicas:int>=0!
    ready_replicas:int>=0! updated_replicas:int>=0
Generic = kind:generic! tool:str! tool_version:str! *:any
ImagePayloadStats = +count:Statistics +filesize:Statistics +pixels:Statistics +aspect_ratio:Statistics
InferenceEngine = kind:inference_engine! tool:str! tool_version:str! role:replica|prefill|decode! replicas:int>=1!
    model:InferenceEngineModel! accelerator:InferenceEngineAccelerator!
InferenceEngineAccelerator = model:str! count:int>=0! parallelism:InferenceEngineParallelism!
InferenceEngineModel = name:str!
InferenceEngineParallelism = tp:int>=0 dp:int>=0 dp_local:int>=0 workers:int>=0 ep:int>=1 pp:int>=1
Load = metadata:LoadMetadata! standardized:LoadStandardized! native:LoadNative!
LoadMetadata = schema_version:str cfg_id:str description:str
LoadNative = args:map envars:map config:any
LoadPrefix = prefix_len:SequenceLength! num_groups:int>=1! num_users_per_group:int>=1! num_prefixes:int>=1!
LoadStandardized = tool:str! tool_version:str! parallelism:int>=1 source:random|sampled|unknown! stage:int>=0
    input_seq_len:SequenceLength! output_seq_len:SequenceLength prefix:LoadPrefix multi_turn:MultiTurn
    rate_qps:num>0 concurrency:num
MultiModalRequests = +image:ImagePayloadStats +video:VideoPayloadStats +audio:AudioPayloadStats
MultiTurn = enabled:bool max_turns:SequenceLength
Observability = components:[ComponentObservability] drop_rate:Statistics pod_startup_times:PodStartupTimes
    replica_status:ReplicaStatus *:any
PodStartupInfo = name:str! model:str role:str node:str creation_timestamp:time ready_timestamp:time
    startup_seconds:num>=0
PodStartupTimes = collected_at:time pods:[PodStartupInfo] aggregate:Statistics graph_path:str
ReplicaHealth = replica_id:str! restarts:int>=0 healthy:bool logs:str
ReplicaStatus = namespace:str timestamp:time controllers:[ControllerReplicaStatus]
    time_series:[ReplicaStatusSnapshot] aggregate_ready_replicas:Statistics graph_path:str
ReplicaStatusSnapshot = timestamp:time namespace:str controllers:[ControllerReplicaStatus]
RequestPerformance = aggregate:AggregateRequestPerformance time_series:TimeSeriesRequestPerformance
ResourceMetrics = kv_cache_usage:Statistics cache_hit_rate:Statistics gpu_cache_usage:Statistics
    cpu_cache_usage:Statistics gpu_memory_usage:Statistics cpu_memory_usage:Statistics storage_usage:Statistics
    gpu_utilization:Statistics cpu_utilization:Statistics power_consumption:Statistics running_requests:Statistics
    waiting_requests:Statistics swapped_requests:Statistics preemptions:Statistics
Results = request_performance:RequestPerformance +session_performance:SessionPerformance observability:Observability
    profiling:any component_health:[ComponentHealth]
Run = uid:str! eid:str cid:str pid:str time:RunTime user:str description:str keywords:[str]
RunTime = start:time end:time duration:str
Scenario = stack:[Component] load:Load
SequenceLength = distribution:fixed|gaussian|uniform|other! value:num! std_dev:num>=0 min:int>=0 max:int>=1
SessionPerformance = +sessions:SessionRequests
SessionRequests = +total:int>=0! +succeeded:int>=0 +failed:int>=0 +total_events:int>=0
    +total_events_completed:int>=0 +total_events_cancelled:int>=0 +session_rate:Statistics
    +session_duration:Statistics +events_per_session:Statistics +events_cancelled_per_session:Statistics
    +input_tokens_per_session:Statistics +output_tokens_per_session:Statistics
Statistics = units:units! mean:num! mode:num stddev:num>=0 min:num p0p1:num p1:num p5:num p10:num p25:num p50:num
    p75:num p90:num p95:num p99:num p99p9:num max:num *:any
TimeSeriesData = units:units! series:[TimeSeriesPoint]!
TimeSeriesLatency = time_to_first_token:TimeSeriesData normalized_time_per_output_token:TimeSeriesData
    time_per_output_token:TimeSeriesData inter_token_latency:TimeSeriesData request_latency:TimeSeriesData
TimeSeriesPoint = ts:time! value:str/num/int/bool mean:num mode:num stddev:num>=0 min:num p0p1:num p1:num p5:num
    p10:num p25:num p50:num p75:num p90:num p95:num p99:num p99p9:num max:num
TimeSeriesRequestPerformance = latency:TimeSeriesLatency throughput:TimeSeriesThroughput
TimeSeriesResourceMetrics = kv_cache_usage:TimeSeriesData gpu_cache_usage:TimeSeriesData
    cpu_cache_usage:TimeSeriesData gpu_memory_usage:TimeSeriesData cpu_memory_usage:TimeSeriesData
    storage_usage:TimeSeriesData gpu_utilization:TimeSeriesData cpu_utilization:TimeSeriesData
    power_consumption:TimeSeriesData +num_requests_running:TimeSeriesData +num_requests_waiting:TimeSeriesData
    +num_preemptions:TimeSeriesData +prefix_cache_queries:TimeSeriesData +prefix_cache_hits:TimeSeriesData
    +prefix_cache_hit_rate:TimeSeriesData +external_prefix_cache_queries:TimeSeriesData
    +external_prefix_cache_hits:TimeSeriesData +external_prefix_cache_hit_rate:TimeSeriesData
    +prompt_tokens:TimeSeriesData +generation_tokens:TimeSeriesData +pool_avg_kv_cache_utilization:TimeSeriesData
    +pool_avg_queue_size:TimeSeriesData +pool_avg_running_requests:TimeSeriesData +pool_ready_pods:TimeSeriesData
TimeSeriesThroughput = units:units input_token_rate:TimeSeriesData output_token_rate:TimeSeriesData
    total_token_rate:TimeSeriesData request_rate:TimeSeriesData
VideoPayloadStats = +count:Statistics +filesize:Statistics +pixels:Statistics +aspect_ratio:Statistics
    +frames:Statistics
"""

UNITS = {
    "count", "percent", "fraction", "ms", "s", "MB", "GB", "TB", "MiB", "GiB", "TiB", "Mbit/s", "Gbit/s", "Tbit/s",
    "GiB/s", "MB/s", "GB/s", "TB/s", "ms/token", "s/token", "tokens/s", "queries/s", "Watts",
}  # fmt: skip
MORE_UNITS = {"pixels", "ratio", "bytes", "images/s", "videos/s", "audios/s"}
"""Of v0.2.1 alone."""

COUNT, PORTION, TIME, PER_TOKEN = ("count", "pixels"), ("percent", "fraction"), ("s", "ms"), ("s/token", "ms/token")
UNITS_OF = {
    "input_length": COUNT, "output_length": COUNT, "time_to_first_token": TIME, "request_latency": TIME,
    "normalized_time_per_output_token": PER_TOKEN, "time_per_output_token": PER_TOKEN,
    "inter_token_latency": PER_TOKEN, "input_token_rate": ("tokens/s",), "output_token_rate": ("tokens/s",),
    "total_token_rate": ("tokens/s",), "request_rate": ("queries/s",), "session_rate": ("queries/s",),
    "session_duration": TIME, "events_per_session": COUNT, "input_tokens_per_session": COUNT,
    "output_tokens_per_session": COUNT, "kv_cache_usage": PORTION, "cache_hit_rate": PORTION,
    "prefix_cache_hit_rate": PORTION, "gpu_utilization": PORTION, "power_consumption": ("Watts",),
    "running_requests": COUNT, "waiting_requests": COUNT, "preemptions": COUNT, "num_requests_running": COUNT,
    "num_requests_waiting": COUNT, "drop_rate": PORTION,
}  # fmt: skip


def structs(version: str) -> dict[str, dict[str, str]]:
    """Struct -> field -> kind, as far as this version has them."""
    found: dict[str, dict[str, str]] = {}
    for line in re.sub(r"\n {4}", " ", SHAPE.strip()).splitlines():
        name, _, fields = line.partition(" = ")
        pairs = [field.partition(":")[::2] for field in fields.split()]
        mine = {n.lstrip("+"): kind for n, kind in pairs if version != "0.2" or not n.startswith("+")}
        if mine:
            found[name] = mine
    return found


def problems(document: object, version: str) -> list[str]:
    """What of a document is not as the schema has it, by its path."""
    return list(_problems(document, "Report", "", structs(version), version))


def _problems(value: object, kind: str, path: str, known: dict[str, dict[str, str]], version: str) -> Iterator[str]:
    kind = kind.removesuffix("!")
    if "/" in kind and kind not in UNITS:
        tried = [list(_problems(value, one, path, known, version)) for one in kind.split("/")]
        yield from [] if any(not found for found in tried) else min(tried, key=len)
    elif kind.startswith("["):
        if not isinstance(value, list):
            yield f"{path} is no list"
        else:
            for number, one in enumerate(value):
                yield from _problems(one, kind[1:-1], f"{path}[{number}]", known, version)
    elif kind in known:
        yield from _of_struct(value, kind, path, known, version)
    elif not _is(value, kind, version):
        yield f"{path} is {value!r}, no {kind}"


def _of_struct(value: object, name: str, path: str, known: dict[str, dict[str, str]], version: str) -> Iterator[str]:
    fields = known[name]
    if not isinstance(value, dict):
        yield f"{path} is no {name}"
        return
    allowed = UNITS_OF.get(path.rpartition(".")[2], (value.get("units"),))
    if name in ("Statistics", "TimeSeriesData") and value.get("units") not in allowed:
        yield f"{path}.units is {value.get('units')!r}, none of {allowed}"
    for field, kind in fields.items():
        if kind.endswith("!") and field not in value:
            yield f"{path}.{field} is required"
    for field, inner in value.items():
        if field in fields:
            yield from _problems(inner, fields[field], f"{path}.{field}", known, version)
        elif "*" not in fields:
            yield f"{path}.{field} is no field of {name}"


def _is(value: object, kind: str, version: str) -> bool:
    base, sign, bound = re.fullmatch(r"([^<>]*?)(>=?)?([\d.]+)?", kind).groups()  # type: ignore[union-attr]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if base == "any":
        return _is_json(value)
    if base == "units":
        return value in UNITS or (version != "0.2" and value in MORE_UNITS)
    if base == "map":
        return isinstance(value, dict) and _is_json(value)
    if base == "str":
        return isinstance(value, str)
    if base == "time":
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    if base == "bool":
        return isinstance(value, bool)
    if base in ("int", "num"):
        good = is_number and math.isfinite(value) and (base == "num" or isinstance(value, int))  # type: ignore[arg-type]
        low = float(bound or "-inf")
        return good and (value >= low if sign != ">" else value > low)  # type: ignore[operator]
    return value in base.split("|")


def _is_json(value: object) -> bool:
    """With numbers that JSON has."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_json(v) for v in value)
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
