"""Step 2: from cells and particles to maps."""
