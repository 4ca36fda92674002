"""Endings of the names of sound files, by which folders are searched. What a file is, its content decides."""

# Those that songs of a dataset can have, which are read piece by piece; the first of them is taken where a song comes
# in several formats.
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
_OTHERS = """
    m4a mp4 aac opus webm mkv mov wma ac3 mka avi wv oga aifc m4b mp2 au snd w64 caf ape rf64 bwf wave voc spx mp1
    mpga m4r m4v 3gp ogv mpg mpeg mts m2ts flv wmv asf amr dts eac3 mlp thd tta tak mpc shn dsf weba
"""  # most of them with ffmpeg
OTHER_SUFFIXES = tuple(f".{name}" for name in _OTHERS.split())
SUFFIXES = (*SOUND_SUFFIXES, *OTHER_SUFFIXES)
