"""How devices and nodes hang together: PCIe switches, sockets and accelerator fabrics in a node, switches between."""
