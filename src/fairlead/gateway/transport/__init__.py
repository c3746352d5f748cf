"""gRPC servers for the picker: our own on an asyncio protocol, and grpcio's as the reference.

Services see one seam (`call`) and never the transport.
"""
