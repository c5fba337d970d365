"""What is measured on trained models: results, attention, noise and paired statistics."""
