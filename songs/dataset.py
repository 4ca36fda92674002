"""The songs of a dataset in its original layout, and which of them are for training, validation and test."""

import argparse
import dataclasses
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from process.errors import UserError, printable
from songs.layouts import DEV, FORMATS, LAYOUTS, PLACES, SPLITS, UNDIVIDED, Found, Reasons
from songs.names import ACCOMPANIMENT, MIXTURE, name_in_folder, pair_of, part_named, plain, sound_files
from songs.song import Song, Voice
from sound.names import OTHER_SUFFIXES, SOUND_SUFFIXES, SUFFIXES
from sound.stem_files import SUFFIX as STEM_SUFFIX

SHARE = 0.2  # of the songs to divide that becomes Valid, or Test
SPLIT_SEED = 0  # not the seed of a training: training and evaluation must agree on the songs


@dataclasses.dataclass
class Dataset:
    """What `read_dataset` found in a folder."""

    layout: str
    songs: dict[str, list[Song]]  # by split, sorted by name
    errors: list[UserError]  # songs that cannot be opened
    unused: Reasons  # every sound file that belongs to no song


class NoDataset(UserError):
    """A folder has no known layout: what is in it may still be sounds that are no songs."""


# ---------------------------------------------------------------------------------------------- from folder to songs


def find_songs(
    root: str | Path, hold_out: Sequence[str] = (), include_test: bool = False, learn_undivided: bool = False
) -> dict[str, list[Song]]:
    """The songs that `read_dataset` finds: {"Train": [...], "Valid": [...], "Test": [...]}. Tells the layout.

    Raises UserError for missing folders or files and for songs whose parts differ in sample rate or length.
    """
    dataset = read_dataset(root, hold_out, include_test, learn_undivided=learn_undivided)
    for error in dataset.errors:
        raise error
    left_out = f"; sound files not used: {len(dataset.unused)}, listed by Data.py" if dataset.unused else ""
    print(printable(f"{root}: layout {dataset.layout}{left_out}"), flush=True)
    return dataset.songs


def read_dataset(
    root: str | Path,
    hold_out: Sequence[str] = (),
    include_test: bool = False,
    layout: str | None = None,
    seed: int = SPLIT_SEED,
    divide_all: bool = False,
    learn_undivided: bool = False,
) -> Dataset:
    """Recognise a dataset's layout, unless `layout` names one of LAYOUTS, open its songs and divide them into splits.

    Without a validation split, the songs to train on are divided by artist and `seed` into Train and Valid. Songs that
    come without any split become Test; with include_test or learn_undivided, Train and Valid; with divide_all, all
    three.

    hold_out: names of the songs or artists that become Valid, alone (those of Test only with include_test).
    include_test: Test songs join Train, for a final model that is evaluated on other data.
    Raises UserError if the folder is missing or has no known layout. Songs that cannot be opened are in `errors`.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    name, found, reasons = _recognise(root, layout)
    splits: dict[str, list[Song]] = {split: [] for split in (*SPLITS, DEV, UNDIVIDED)}
    errors: list[UserError] = []
    with ThreadPoolExecutor() as pool:  # to read a thousand headers or start ffprobe a hundred times
        for place, song in zip(found, pool.map(_open, found), strict=True):
            if isinstance(song, Song):
                splits[place.split].append(song)
            else:
                errors.append(song)
    used = {path for place in found for path in place.files}
    used |= {path for songs in splits.values() for song in songs for path in song.files}
    _divide(splits, seed, divide_all, include_test or learn_undivided)
    if include_test:
        splits = _include_test(splits, keep_artists=name != "MIR-1K")
    if hold_out:
        splits = _hold_out(splits, hold_out, root)
    elif not splits["Valid"]:
        splits["Train"], splits["Valid"] = divide_by_artist(splits["Train"], seed)
    for split, songs in splits.items():
        named: dict[str, Song] = {}
        for song in sorted(songs, key=lambda song: song.name):
            if (first := named.setdefault(song.name, song)) is not song:
                text = f"expected one song named '{song.name}' in {split}, found another: {first.mixture}"
                errors.append(UserError(f"{song.mixture}: {text}"))
        splits[split] = list(named.values())
    return Dataset(name, splits, errors, _unused(root, name, used, reasons))


def _recognise(root: Path, layout: str | None) -> tuple[str, list[Found], Reasons]:
    for name in [layout] if layout else LAYOUTS:
        found, reasons = LAYOUTS[name](root)
        if found:
            return name, found, reasons
    expected = f"the layout {layout}" if layout else "a dataset"
    what = "none of these"
    if reasons:
        what = f"{len(reasons)} files that form no song, such as '{next(iter(reasons)).name}'"
    raise NoDataset(
        f"{root}: expected {expected} (Mixtures/ and Sources/, MUSDB18's train/ and test/, MIR-1K's Wavfile/, "
        f"or folders with mixture.* and vocals.*), found {what}"
    )


def _open(found: Found) -> Song | UserError:
    try:
        return found.open()
    except UserError as error:
        return error


def _unused(root: Path, layout: str, used: set[Path], reasons: Reasons) -> Reasons:
    """Every sound file in a dataset that belongs to no song, every such link to a folder, every folder that cannot be
    listed, and why."""
    unused = {path: reason for path, reason in reasons.items() if path not in used}
    holding = {path.parent for path in used}  # folders of songs

    def cannot_be_listed(error: OSError) -> None:
        unused[Path(error.filename)] = f"cannot be read: {error.strerror}"

    for place, inner, files in os.walk(root, onerror=cannot_be_listed):
        folder = Path(place)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for path in (folder / name for name in inner):
            if path.is_symlink() and path not in used and not any(path in (own, *own.parents) for own in holding):
                unused.setdefault(path, "a link to a folder, with no song of the layout in it")
        for path in sorted(folder / name for name in files):
            if path in used or path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if folder in holding and path.suffix.lower() in SOUND_SUFFIXES:
                reason = "not needed: its song is complete without it"
            elif path.suffix.lower() in OTHER_SUFFIXES and not path.name.lower().endswith(STEM_SUFFIX):
                reason = f"expected {FORMATS}"
            else:
                reason = f"layout {layout} has its songs elsewhere: {PLACES[layout]}"
            unused.setdefault(path, reason)
    return unused


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line arguments of `find_songs`."""
    parser.add_argument("dataset", help="folder of songs: in the course's layout, DSD100, MUSDB18, MIR-1K or any other")
    text = "validate with these songs or artists only (default: the dataset's own Valid, else a fifth by artist)"
    parser.add_argument("--hold-out", nargs="+", action="extend", default=[], metavar="NAME", help=text)
    text = "count the Test songs as Train (of a folder without splits, all songs), to evaluate on other data"
    parser.add_argument("--include-test", action="store_true", help=text)


# ---------------------------------------------------------------------------------------------- who trains, who tests


def divide_by_artist(songs: Sequence[Song], seed: int) -> tuple[list[Song], list[Song]]:
    """Draw a SHARE of the songs by artist; by name if there is one artist only, none if there is one song only.

    Returns (the others, those).
    """
    several = len({song.artist for song in songs}) > 1
    by_artist: dict[str, list[Song]] = {}
    for song in songs:
        by_artist.setdefault(song.artist if several else song.name, []).append(song)
    artists = sorted(by_artist)
    random.Random(seed).shuffle(artists)
    wanted = max(1, round(SHARE * len(songs)))
    drawn: list[Song] = []
    for artist in artists:
        if len(drawn) + len(by_artist[artist]) <= wanted:
            drawn += by_artist[artist]
    if not drawn and len(artists) > 1:
        drawn = min((by_artist[artist] for artist in artists), key=len)
    if len(drawn) == len(songs):
        drawn = []
    return [song for song in songs if song not in drawn], drawn


def _divide(splits: dict[str, list[Song]], seed: int, divide_all: bool, learn_undivided: bool) -> None:
    """Divide the songs of Dev, and those without a split, into Train, Valid and Test, in place."""
    undivided, dev = splits.pop(UNDIVIDED), splits.pop(DEV)
    if divide_all:
        undivided, test = divide_by_artist(undivided, seed)
        splits["Test"] += test
    if divide_all or learn_undivided:
        dev += undivided
    else:
        splits["Test"] += undivided
    train, valid = divide_by_artist(dev, seed)
    splits["Train"] += train
    splits["Valid"] += valid


def _include_test(splits: dict[str, list[Song]], keep_artists: bool) -> dict[str, list[Song]]:
    """Move Test songs to Train, but with `keep_artists` those by an artist of Valid to Valid."""
    artists = {song.artist for song in splits["Valid"]} if keep_artists else set()
    valid = [song for song in splits["Test"] if song.artist in artists]
    train = [song for song in splits["Test"] if song.artist not in artists]
    return {"Train": splits["Train"] + train, "Valid": splits["Valid"] + valid, "Test": []}


def belongs(song: Song, names: Sequence[str]) -> bool:
    """Whether `names` has the song or its artist: 'amy_9_08' belongs to 'amy_9' and to 'amy'."""
    wanted, own = [plain(name) for name in names], plain(song.name)
    return plain(song.artist) in wanted or any(own == name or own.startswith(name + "_") for name in wanted)


def _hold_out(splits: dict[str, list[Song]], names: Sequence[str], root: str | Path) -> dict[str, list[Song]]:
    songs = splits["Train"] + splits["Valid"]
    for name in names:
        if not any(belongs(song, [name]) for song in songs):
            in_test = any(belongs(song, [name]) for song in splits["Test"])
            found = "found it in Test alone; --include-test adds Test to training" if in_test else "found none"
            raise UserError(f"{root}: expected a song or artist '{name}' to hold out, {found}")
    valid = [song for song in songs if belongs(song, names)]
    return {"Train": [song for song in songs if song not in valid], "Valid": valid, "Test": splits["Test"]}


def apart(folder: str | Path, found: list[Song], splits: dict[str, list[Song]]) -> list[Song]:
    """The songs or sounds found in a folder that share no file with the Valid and Test songs of `splits`. Tells others.

    A file of a song in Train is no other's: one song alone validates on itself.
    """
    train, *judging = ({path.resolve() for song in splits[split] for path in song.files} for split in SPLITS)
    held = set().union(*judging) - train
    left = [song for song in found if not any(path.resolve() in held for path in song.files)]
    if len(left) < len(found):
        print(printable(f"{folder}: left out, since they validate or test: {len(found) - len(left)}"), flush=True)
    return left


def find_sounds(root: str | Path, kind: type[Voice]) -> list[Song]:
    """What `sounds_below` finds, opened. Raises UserError if one cannot be."""
    return [found.open() for found in sounds_below(root, kind)]


def sounds_below(root: str | Path, kind: type[Voice]) -> list[Found]:
    """All sound files below a folder, sorted, without hidden ones, as songs of this kind that are not yet opened.

    Raises UserError if there are none, and for a voice whose name says that it is a mixture or an accompaniment.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    inner = sorted(path for path in root.rglob("*") if path.is_dir())
    shown = [path for path in inner if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    paths = [path for place in (root, *shown) for path in sound_files(place)]
    if not paths:
        raise UserError(f"{root}: expected sound files ({', '.join(SOUND_SUFFIXES)}), found none")
    for path in paths if kind is Voice else ():
        for part in (part_named(name_in_folder(path)), part_named(pair_of(path)[1])):
            if part in (MIXTURE, ACCOMPANIMENT):
                raise UserError(f"{path}: expected a voice without accompaniment, found a file named like the {part}")
    return [Found(path.relative_to(root).with_suffix("").as_posix(), UNDIVIDED, kind, (path,)) for path in paths]
