"""The four services."""

import servicekit  # noqa: F401  (first: it sets up gRPC's environment)
