"""Prepare any source: plan, read in parallel, write shards and a manifest."""
