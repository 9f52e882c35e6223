"""Rows in, predictions out: the loop, its gradients, its checkpoints."""
