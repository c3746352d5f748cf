"""The node side of accelerators: what devices a node has, and how a pod gets them. Probing, ResourceSlices, CDI
specs, the kubelet's DRA plugin, health and topology discovery, for hardware of any vendor and for simulated fleets."""
