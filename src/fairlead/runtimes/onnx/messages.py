"""The messages of `inference.GRPCInferenceService`, built when imported: no generated code, no compiler needed.

Protocol: grpc_service.proto of the Open Inference Protocol, package `inference`, with its field numbers. The
descriptors live in a pool of their own, so that a client library with the same package can live in this process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

_SCALARS = {
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "int32": 5,
    "int64": 3,
    "uint32": 13,
    "uint64": 4,
    "float": 2,
    "double": 1,
}
"""Name in .proto -> FieldDescriptorProto.Type."""

_CHOICE = "bool bool_param 1 | int64 int64_param 2 | string string_param 3"
_MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready 1",
    "ModelReadyRequest": "string name 1; string version 2",
    "ModelReadyResponse": "bool ready 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name 1; string version 2; string* extensions 3",
    "ModelMetadataRequest": "string name 1; string version 2",
    "ModelMetadataResponse.TensorMetadata": "string name 1; string datatype 2; int64* shape 3",
    "ModelMetadataResponse": "string name 1; string* versions 2; string platform 3; "
    "ModelMetadataResponse.TensorMetadata* inputs 4; ModelMetadataResponse.TensorMetadata* outputs 5",
    "InferParameter": _CHOICE + " | double double_param 4 | uint64 uint64_param 5",
    "InferTensorContents": "bool* bool_contents 1; int32* int_contents 2; int64* int64_contents 3; "
    "uint32* uint_contents 4; uint64* uint64_contents 5; float* fp32_contents 6; double* fp64_contents 7; "
    "bytes* bytes_contents 8",
    "ModelInferRequest.InferInputTensor": "string name 1; string datatype 2; int64* shape 3; "
    "{InferParameter} parameters 4; InferTensorContents contents 5",
    "ModelInferRequest.InferRequestedOutputTensor": "string name 1; {InferParameter} parameters 2",
    "ModelInferRequest": "string model_name 1; string model_version 2; string id 3; {InferParameter} parameters 4; "
    "ModelInferRequest.InferInputTensor* inputs 5; ModelInferRequest.InferRequestedOutputTensor* outputs 6; "
    "bytes* raw_input_contents 7",
    "ModelInferResponse.InferOutputTensor": "string name 1; string datatype 2; int64* shape 3; "
    "{InferParameter} parameters 4; InferTensorContents contents 5",
    "ModelInferResponse": "string model_name 1; string model_version 2; string id 3; {InferParameter} parameters 4; "
    "ModelInferResponse.InferOutputTensor* outputs 5; bytes* raw_output_contents 6",
    "ModelRepositoryParameter": _CHOICE + " | bytes bytes_param 4",
    "RepositoryIndexRequest": "string repository_name 1; bool ready 2",
    "RepositoryIndexResponse.ModelIndex": "string name 1; string version 2; string state 3; string reason 4",
    "RepositoryIndexResponse": "RepositoryIndexResponse.ModelIndex* models 1",
    "RepositoryModelLoadRequest": "string repository_name 1; string model_name 2; "
    "{ModelRepositoryParameter} parameters 3",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name 1; string model_name 2; "
    "{ModelRepositoryParameter} parameters 3",
    "RepositoryModelUnloadResponse": "",
}
"""Message -> its fields "type name number"; `*` repeated, `{T}` a map from string to T, `|` members of one choice."""


def _build() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="fairlead/open_inference_v2.proto", package="inference")
    file.syntax = "proto3"
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    # Outer messages first: nested ones are added to them.
    for name in sorted(_MESSAGES, key=lambda n: n.count(".")):
        outer, _, inner = name.rpartition(".")
        message = made[outer].nested_type.add() if outer else file.message_type.add()
        message.name = inner
        made[name] = message
        for choice in filter(None, (part.strip() for part in _MESSAGES[name].split(";"))):
            members = choice.split("|")
            if len(members) > 1:
                message.oneof_decl.add(name="parameter_choice")
            for member in members:
                _field(message, name, *member.split(), in_choice=len(members) > 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


def _field(
    message: descriptor_pb2.DescriptorProto, full_name: str, kind: str, name: str, number: str, *, in_choice: bool
) -> None:
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind[-1] in "*}" else field.LABEL_OPTIONAL
    if in_choice:
        field.oneof_index = 0
    if kind[0] == "{":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _field(entry, f"{full_name}.{entry.name}", "string", "key", "1", in_choice=False)
        _field(entry, f"{full_name}.{entry.name}", kind[1:-1], "value", "2", in_choice=False)
        kind = f"{full_name}.{entry.name}"
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]  # type: ignore[assignment]
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".inference.{kind}"


_CLASSES: dict[str, Any] = _build()


def message(name: str) -> Any:
    """The class of a message, by its name in the package."""
    return _CLASSES[f"inference.{name}"]
