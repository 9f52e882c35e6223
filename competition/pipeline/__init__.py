"""What to make, in which order, and making it."""
