"""Members combined: averages, regressions and trees on their out-of-fold outputs, cross-fitted."""
