"""What a batch of operations loads and writes, the same for both databases."""
