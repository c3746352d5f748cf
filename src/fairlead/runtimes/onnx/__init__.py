"""ONNX Runtime behind the Open Inference Protocol v2: REST and gRPC, several models, dynamic batching, metrics.

Protocols: Open Inference Protocol v2 with its model repository and binary tensor data extensions; KServe V1 `:predict`.
"""
