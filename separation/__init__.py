"""From sound to stems: waveforms, files, folders, pipes."""
