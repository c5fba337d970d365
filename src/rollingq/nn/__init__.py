"""Models of the laboratory: encoders, fusions, and the classifier that joins them."""
