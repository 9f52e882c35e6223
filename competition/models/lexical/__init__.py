"""The baseline without a neural network: text features and LightGBM."""
