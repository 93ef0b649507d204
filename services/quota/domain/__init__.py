"""Money and limits as rules on records in memory: neither transport nor database."""
