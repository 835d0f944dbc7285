"""The labels: what can be predicted of a galaxy, one line each, and how they are named when served."""
