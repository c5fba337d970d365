"""From raw files, as published, to prepared folders of safetensors shards."""
