"""Balancing: what changes in a training step so that no modality starves."""
