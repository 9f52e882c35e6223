"""Rules that say in words where a workspace stands, what is wrong, and what to do next."""
