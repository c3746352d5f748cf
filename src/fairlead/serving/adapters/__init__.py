"""LoRA adapters on the engines of services: where each goes, how it comes there, and how a new version takes over.

An adapter is loaded under a name of its version (`names.shadow_name`), never under the one that requests give: a
rewrite of the service's pool leads requests to a version, or to two of them by weight.
"""
