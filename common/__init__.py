"""What two services must agree on and neither owns."""
