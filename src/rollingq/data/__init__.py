"""Datasets: raw files become prepared folders, and prepared folders become splits of named modalities."""
