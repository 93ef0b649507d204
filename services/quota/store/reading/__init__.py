"""Reading the books beside the requests: balances, usage, receipts, and the count of it all."""
