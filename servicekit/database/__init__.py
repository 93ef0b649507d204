"""A service's database: opening, migrating, and what its outages look like."""
