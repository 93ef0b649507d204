"""HTTP/1.1 to upstreams: bytes come in and are pushed to a receiver, without a task, future or queue on the way."""
