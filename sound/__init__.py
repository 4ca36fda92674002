"""Sound in and out, block by block: files, pipes, ffmpeg, resampling."""
