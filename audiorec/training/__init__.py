"""Training the encoders that learn."""
