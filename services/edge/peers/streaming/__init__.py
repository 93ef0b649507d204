"""gRPC streams that are kept open: replicas, reconnects, heartbeats."""
