"""What the edge needs of HTTP below its routes: the protocol's bounds, bodies, disconnects, the log of requests."""
