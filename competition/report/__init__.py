"""The report: one HTML page on which a workspace's results can be looked at instead of read."""
