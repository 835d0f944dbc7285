"""Step 2: from gas cells to face-on maps."""
