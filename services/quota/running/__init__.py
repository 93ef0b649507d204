"""What runs beside the requests: group commit, the sweeper, housekeeping, the guard, the books as metrics."""
