"""A node's model cache: whole models by digest in a folder whose capacity is kept, shared by the pods of the node."""
