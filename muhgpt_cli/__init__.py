"""The command line: starts the platform on one machine, and runs it from anywhere."""

import servicekit  # noqa: F401  (first: it sets up gRPC's environment)
