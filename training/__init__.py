"""One run of training: options, epochs, loss, checkpoints."""
