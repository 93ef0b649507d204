"""gRPC between the services: channels, servers, who may call what, and errors across the wire."""
