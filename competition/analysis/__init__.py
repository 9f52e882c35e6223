"""What results mean: report, ablations, leakage, cost, doctor."""
