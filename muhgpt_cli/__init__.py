"""The command line: starts the platform on one machine, and runs it from anywhere."""
