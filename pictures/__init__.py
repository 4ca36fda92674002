"""Loss curves, spectrograms, box plots."""
