"""From sound to stems: waveforms, files, folders and pipes."""
