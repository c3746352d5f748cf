"""What picker replicas tell each other, so that each decides with the load of all."""
