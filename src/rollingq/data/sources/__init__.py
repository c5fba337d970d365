"""The datasets: which clips their raw files hold, and how one is read."""
