"""Training: settings, the LightningModule, and one run from seed to result."""
