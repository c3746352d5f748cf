"""Google TPU: the chips of a host, the slice they are part of, and the environment that libtpu wants for them."""
