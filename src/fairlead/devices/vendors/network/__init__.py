"""RDMA and SR-IOV network interfaces, described so that a claim can ask for the one beside its accelerator."""
