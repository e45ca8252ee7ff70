"""Tuning a generator on a catalogue: a low-rank adapter on its UNet, learnt from clips and what is said of them."""
