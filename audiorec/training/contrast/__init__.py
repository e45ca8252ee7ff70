"""Training by contrast: views of the same clip, and clips of the same label, belong together."""
