"""What runs beside the requests: group commit, the sweeper, the books as metrics."""
