"""What predicts: encoders, trees on text features, ensembles."""
