"""VQ-VAE-2 over log-mel spectrograms: two levels of discrete codes, and a decoder that turns them back."""
