"""Sound files opened with libsndfile: by their content, whatever their name says, and silently."""

import io
import os
import threading
from pathlib import Path

import soundfile


class _Silence:
    """Stderr leads nowhere while any thread is inside: libsndfile's MP3 decoder prints its warnings there."""

    def __init__(self):
        self.lock, self.inside, self.stderr = threading.Lock(), 0, -1

    def __enter__(self):
        with self.lock:
            if self.inside == 0:
                self.stderr = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)
            self.inside += 1

    def __exit__(self, *error):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                os.dup2(self.stderr, 2)
                os.close(self.stderr)


silence = _Silence()


def open_part(part: io.RawIOBase) -> soundfile.SoundFile:
    """Open a part of a file, given as something like a file."""
    with silence:
        return soundfile.SoundFile(part)


def open_to_read(path: Path) -> soundfile.SoundFile:
    """Open a file without telling libsndfile its name: where it does not know the first bytes, it would believe the
    extension and take anything called .mp3 for MP3."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    with silence:
        return soundfile.SoundFile(descriptor, closefd=True)  # libsndfile closes it, even if it cannot read the file


def name_to_write(path: Path) -> str | bytes:
    """The path for libsndfile: absolute, since '-' would mean standard output; bytes, since a name may not be text."""
    return os.fsencode(path.absolute()) if os.name == "posix" else str(path.absolute())
