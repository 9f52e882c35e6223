"""Raw files to examples, products, folds and token pairs."""
