"""One request's life between HTTP and the peers: authenticate, prepare, reserve, go, deliver, settle."""
