"""The report: one HTML page on which the results of a workspace are looked at instead of read."""
