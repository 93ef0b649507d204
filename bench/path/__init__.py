"""What the request path costs, beside other gateways, in one run (`make bench-path`)."""
