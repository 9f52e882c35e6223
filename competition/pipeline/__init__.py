"""Plan what to make, order the steps, and build them."""
