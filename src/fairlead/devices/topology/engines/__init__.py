"""What topology is turned into: Kubernetes node labels, Slurm's topology.conf, a graph of instances."""
