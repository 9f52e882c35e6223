"""Recipes and settings: TOML to typed objects."""
