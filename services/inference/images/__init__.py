"""Images of clients: the guarded fetcher of URLs, and the process that decodes files."""
