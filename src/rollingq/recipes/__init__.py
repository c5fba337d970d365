"""Recipes: one YAML file a dataset, read before the flags."""
