"""The streaming engine: the same voice however the sound is cut, exactly as long as the mixture, and soon."""

import argparse
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_song

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import BidirectionalNetwork, RecurrentNetwork, RNNConfig
from networks.hearing import Hearing, can_be_sung, together
from separation import separator as engine
from separation.separate import separate
from separation.separator import Separator, top_octave
from sound.resampling import Resampler, resample
from util import AudioConfig, istft, overlap_add, overlap_windows, stft

CAUSAL = ("feedforward", "RNN", "RNN with two LSTMs")
KINDS = (*CAUSAL, "RNN_bidirectional")
AUDIOS = [AudioConfig(8000, 256, 64), AudioConfig(8000, 256, 128), AudioConfig(8000, 250, 77, "hann")]


class LetThrough(torch.nn.Module):
    """A network that changes nothing."""

    def forward(self, magnitude, state=None):
        return torch.ones_like(magnitude), state


class LetThroughForeseen(LetThrough):
    """The same, heard in segments."""

    foresees = True


def make_network(kind: str, audio: AudioConfig) -> torch.nn.Module:
    """A small network with random weights, large enough that the mask is far from constant."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"bins": audio.bins, "hidden": 30, "code": 20}
    network: RecurrentNetwork | FeedforwardNetwork
    if kind == "feedforward":
        network = FeedforwardNetwork(FeedforwardConfig(**sizes))
    else:
        config = RNNConfig(**sizes, memory=10, fusion=20, layers=2 if kind == "RNN with two LSTMs" else 1)
        network = (BidirectionalNetwork if kind == "RNN_bidirectional" else RecurrentNetwork)(config)
    network.compression.measure(torch.rand(100, audio.bins))
    for weights in network.parameters():
        weights.data *= 2
    return network.eval()


def make_sound(channels: int, samples: int, rate: int) -> np.ndarray:
    sound, _ = make_song("stream", samples / rate + 0.1, rate)
    noise = np.random.default_rng(channels).uniform(-0.1, 0.1, (channels, samples))
    return (np.linspace(1, 0.3, channels)[:, None] * sound[:samples] + noise).astype(np.float32)


def push_in_pieces(separator: Separator, sound: np.ndarray, sizes) -> tuple[np.ndarray, np.ndarray]:
    pieces, start = [], 0
    while start < sound.shape[1]:
        size = next(sizes)
        pieces.append(separator.push(sound[:, start : start + size]))
        start += size
    pieces.append(separator.push(sound[:, :0], last=True))
    mixture, voice = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
    return mixture, voice


def repeat(*sizes: int):
    while True:
        yield from sizes


@torch.inference_mode()
def mask_at_once(
    network: torch.nn.Module, audio: AudioConfig, sound: np.ndarray, magnitude: torch.Tensor, keys: int
) -> torch.Tensor:
    """A whole song's mask (1, frames, bins), heard as hearing.py shows it; magnitude: of all channels together."""
    hearing = Hearing(network, audio, keys)
    padded = np.pad(sound, [(0, 0), (hearing.longest - audio.block // 2, audio.block)])
    seen = padded[:, : hearing.longest + (magnitude.shape[1] - 1) * audio.hop]
    mask, _ = network(hearing.hear(torch.from_numpy(seen), magnitude), None)
    mask = hearing.put_back(mask).clone()
    mask[..., : int(20 / audio.bin_width) + 2] = 0
    return mask


def at_once(network: torch.nn.Module, audio: AudioConfig, sound: np.ndarray, rate: int, keys: int) -> np.ndarray:
    """What the engine must give, without it: the whole song through resampler, STFT, network and back."""
    at_network_rate = resample(sound, rate, audio.sample_rate)
    spectrum = stft(torch.from_numpy(at_network_rate), audio)
    samples, start = at_network_rate.shape[1], audio.block // 2
    magnitude = together(spectrum)
    mask = mask_at_once(network, audio, at_network_rate, magnitude, keys)
    gain = top_octave(mask, magnitude)
    voice = istft(spectrum * (mask - gain[..., None]), audio, samples).numpy()
    _, weight = overlap_add(spectrum, audio)
    gains = (overlap_windows(gain, audio) / weight)[0, start : start + samples].numpy()
    times = np.arange(sound.shape[1]) * audio.sample_rate / rate
    above = np.interp(times, np.arange(samples), gains) * sound
    voice = resample(voice, audio.sample_rate, rate)
    shared = min(voice.shape[1], above.shape[1])
    return voice[:, :shared] + above[:, :shared]


@pytest.mark.parametrize("audio", AUDIOS, ids=str)
@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize(("rate", "keys"), [(8000, 1), (11025, 1), (44100, 1), (11025, 3), (44100, 5)])
def test_as_the_whole_song_at_once(kind, audio, rate, keys):
    network = make_network(kind, audio)
    sound = make_sound(2, round(0.6 * rate) + 3, rate)
    whole = separate(network, sound, rate, audio, keys=keys)
    expected = at_once(network, audio, sound, rate, keys)
    shared = min(whole.shape[1], expected.shape[1])
    assert whole.shape == sound.shape and abs(expected.shape[1] - sound.shape[1]) <= rate / audio.sample_rate + 1
    assert np.abs(whole[:, :shared] - expected[:, :shared]).max() < 1e-5
    assert np.abs(whole).max() > 0.05 and np.abs(whole - sound).max() > 0.05  # the mask does something


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (63,), (64,), (256,), (257, 1, 900), (4000,), (10**6,)], ids=str)
@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("rate", [8000, 22050])
def test_any_block_size(kind, rate, sizes):
    audio = AUDIOS[0]
    network = make_network(kind, audio)
    sound = make_sound(2, round(0.25 * rate) + 1, rate)
    mixture, voice = push_in_pieces(Separator(network, audio, rate, 2), sound, repeat(*sizes))
    assert np.array_equal(mixture, sound)
    assert voice.shape == sound.shape and voice.dtype == np.float32
    assert np.abs(voice - separate(network, sound, rate, audio)).max() < 1e-5


@pytest.mark.parametrize("sizes", [(1,), (257, 1, 900)], ids=str)
def test_any_block_size_and_the_same_delay_in_several_keys(sizes):
    audio, rate = AUDIOS[0], 22050
    network, sound = make_network("RNN", audio), make_sound(2, 8000, rate)
    _, voice = push_in_pieces(Separator(network, audio, rate, 2, keys=5), sound, repeat(*sizes))
    assert np.abs(voice - separate(network, sound, rate, audio, keys=5)).max() < 1e-5
    assert np.abs(voice - separate(network, sound, rate, audio)).max() > 1e-3
    known = [Separator(network, audio, rate, 2, keys).push(sound)[1].shape[1] for keys in (1, 5)]
    assert known[0] == known[1] > 6000


AUDIOS_IN_USE = [AudioConfig(16000, 2048, 512), AudioConfig(), AudioConfig(8000, 256, 64)]


@pytest.mark.parametrize("audio", AUDIOS_IN_USE, ids=str)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("hertz", [0, 3, 12, 19])
def test_a_constant_and_rumble_do_not_go_to_the_voice(audio, rate, hertz):
    """Not even with a network that lets everything through. What can be sung stays as it was."""
    times = np.arange(3 * rate) / rate
    low = (0.5 * np.cos(2 * np.pi * hertz * times))[None].astype(np.float32)
    tone = (0.2 * np.sin(2 * np.pi * 130 * times))[None].astype(np.float32)
    inside = slice(rate // 2, -rate // 2)  # the abrupt ends have all frequencies
    assert np.abs(separate(LetThrough(), low, rate, audio))[:, inside].max() < 0.05  # a tenth, at most
    assert np.abs(separate(LetThrough(), tone, rate, audio) - tone)[:, inside].max() < 1e-3
    if rate <= 16000:
        both = separate(LetThroughForeseen(), low + tone, rate, audio)
        assert np.abs(both - tone)[:, inside].max() < 0.05


@pytest.mark.parametrize("audio", AUDIOS_IN_USE, ids=str)
def test_the_lowest_bins_are_not_sung_and_the_next_are(audio):
    sung = can_be_sung(audio)
    lost = int((1 - sung).sum())
    assert sung.shape == (audio.bins,) and not sung[:lost].any() and sung[lost:].all()
    assert (lost - 2) * audio.bin_width <= 20 < (lost - 1) * audio.bin_width and lost * audio.bin_width < 65  # Hz, C2


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000, 192000, 44101])
def test_any_rate_and_number_of_channels(rate, channels):
    audio = AudioConfig(16000, 512, 128)
    network = make_network("RNN", audio)
    sound = make_sound(channels, round(0.2 * rate) + 5, rate)
    _, voice = push_in_pieces(Separator(network, audio, rate, channels), sound, repeat(999, 1, 5000))
    assert voice.shape == sound.shape
    near = 5e-5  # resampling in pieces differs by 1e-6, and this network's mask is steeper than a trained one's
    assert np.abs(voice - separate(network, sound, rate, audio)).max() < near


def test_mono_is_heard_as_it_is():
    spectrum = torch.randn(1, 7, 33, dtype=torch.complex64)
    assert torch.equal(together(spectrum), spectrum.abs())
    assert torch.allclose(together(spectrum.repeat(2, 1, 1)), spectrum.abs(), rtol=1e-5)  # the same in stereo


@pytest.mark.parametrize("channels", range(1, 9))
def test_what_channels_share_is_heard_and_a_quarter_of_the_rest(channels):
    spectrum = torch.randn(channels, 7, 33, dtype=torch.complex64)
    mean = spectrum.mean(0, keepdim=True)
    beside = (spectrum - mean).abs().square().mean(0, keepdim=True)
    assert torch.allclose(together(spectrum), (mean.abs().square() + beside / 4).sqrt(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [1, 3])
@pytest.mark.parametrize("channels", [2, 3, 6, 8])
def test_one_mask_for_all_channels(kind, keys, channels):
    """Channels that differ by a factor have voices that differ by it, whatever its sign: as if they came in mono."""
    rate, audio = 22050, AUDIOS[0]
    network, sound = make_network(kind, audio), make_sound(1, 8000, rate)
    gains = np.linspace(-1, 1, channels, dtype=np.float32)[:, None]
    voice = separate(network, gains * sound, rate, audio, keys)
    mono = separate(network, sound, rate, audio, keys)
    assert np.abs(voice - gains * mono).max() < 1e-4 and np.abs(mono).max() > 0.05


@pytest.mark.parametrize("channels", range(2, 9))
def test_a_silent_channel_stays_silent(channels):
    rate, audio = 22050, AUDIOS[0]
    network, sound = make_network("RNN", audio), make_sound(channels, 8000, rate)
    sound[1] = 0
    voice = separate(network, sound, rate, audio)
    assert not voice[1].any() and np.abs(np.delete(voice, 1, axis=0)).max(axis=1).min() > 0.01
    if channels == 2:
        assert np.abs(voice[0] - separate(network, sound[:1], rate, audio)[0]).max() < 1e-4
    assert not separate(network, np.zeros_like(sound), rate, audio).any()


def test_the_network_hears_each_frame_once():
    """However many channels there are."""
    heard = []

    class Counts(LetThrough):
        def forward(self, magnitude, state=None):
            heard.append(magnitude.shape[:2])
            return super().forward(magnitude, state)

    for channels in (1, 2, 6):
        heard.clear()
        separate(Counts(), make_sound(channels, 8000, 8000), 8000, AUDIOS[0])
        assert {rows for rows, _ in heard} == {1} and sum(frames for _, frames in heard) == 8000 // 64 + 1


class Gate(torch.nn.Module):
    """A network that lets through the lower half of its band; of the upper half `above`, after `frames` nothing."""

    def __init__(self, above: float, frames: int):
        super().__init__()
        self.above, self.frames = above, frames

    def forward(self, magnitude, state=None):
        seen = state or 0
        numbers = torch.arange(seen, seen + magnitude.shape[1])[:, None]
        upper = torch.arange(magnitude.shape[-1]) >= magnitude.shape[-1] // 2
        mask = torch.where(upper, self.above * (numbers < self.frames), 1.0)
        return mask.expand_as(magnitude), seen + magnitude.shape[1]


@pytest.mark.parametrize("above", [1.0, 0.5])
def test_above_its_band_the_voice_has_its_share_of_the_power_in_the_top_octave(above):
    """Three sines, in the lower half of the network's band, in the upper half, and above it; one second of two."""
    rate, audio = 44100, AudioConfig(16000, 512, 128)
    times = np.arange(2 * rate) / rate
    low, upper, beyond = (0.2 * np.sin(2 * np.pi * hertz * times) for hertz in (1000, 6000, 15000))
    sound = (low + upper + beyond)[None].astype(np.float32)
    [voice] = separate(Gate(above, 16000 // 128), sound, rate, audio)
    first, second = slice(rate // 10, rate * 9 // 10), slice(rate * 11 // 10, rate * 19 // 10)
    assert np.abs(voice - low - above * upper - above**2 * beyond)[first].max() < 1e-3
    assert np.abs(voice - low)[second].max() < 1e-3
    [silent] = separate(Gate(above, 0), np.zeros((1, rate), np.float32), rate, audio)
    assert np.array_equal(silent, np.zeros(rate))


def test_at_the_networks_rate_there_is_nothing_above():
    audio = AUDIOS[0]
    network, sound = make_network("RNN", audio), make_sound(2, 5000, 8000)
    spectrum = stft(torch.from_numpy(sound), audio)
    mask = mask_at_once(network, audio, sound, together(spectrum), keys=1)
    assert np.abs(separate(network, sound, 8000, audio) - istft(spectrum * mask, audio, 5000).numpy()).max() < 1e-6


def lengths(audio: AudioConfig) -> list[int]:
    """From nothing to three blocks, with the edges of hops and blocks."""
    edges = [k * audio.hop for k in range(1, 3 * audio.block // audio.hop + 1)]
    return sorted({0, 1, 2, *(edge + offset for edge in edges for offset in (-1, 0, 1))})


@pytest.mark.parametrize("audio", AUDIOS, ids=str)
@pytest.mark.parametrize("rate", [4000, 8000, 12000])
def test_exact_length_and_the_mixture_itself_where_nothing_is_masked(down_to_0_hz, audio, rate):
    for samples in lengths(audio):
        sound = make_sound(2, samples, rate)
        mixture, voice = push_in_pieces(Separator(LetThrough(), audio, rate, 2), sound, repeat(100))
        assert mixture.shape == voice.shape == sound.shape and np.isfinite(voice).all()
        if samples > 2:  # of fewer at 12 kHz, the network may see none
            assert np.abs(voice - sound).max() < 1e-5


@pytest.fixture
def short_segments(monkeypatch):
    for name, seconds in (("SEGMENT", 0.3), ("CONTEXT", 0.1)):
        monkeypatch.setattr(engine, name, seconds)


@pytest.mark.parametrize("sizes", [(1, 700), (2, 3, 999), (4000,), (10**6,)], ids=str)
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.29, 0.301, 0.46, 1.37])
@pytest.mark.parametrize("rate", [8000, 22050])
@pytest.mark.parametrize("keys", [1, 3])
def test_any_block_size_in_both_directions(down_to_0_hz, short_segments, rate, seconds, sizes, keys):
    audio = AUDIOS[0]
    network, sound = make_network("RNN_bidirectional", audio), make_sound(2, round(seconds * rate), rate)
    mixture, voice = push_in_pieces(Separator(network, audio, rate, 2, keys), sound, repeat(*sizes))
    assert np.array_equal(mixture, sound) and voice.dtype == np.float32
    assert np.abs(voice - separate(network, sound, rate, audio, keys)).max(initial=0) < 1e-5
    if keys == 1:
        mixture, voice = push_in_pieces(Separator(Around(), audio, rate, 2), sound, repeat(*sizes))
        assert np.abs(voice - whole_song(Around(), sound, rate)).max(initial=0) < 1e-5


class Around(torch.nn.Module):
    """A network whose mask depends on the frame, on the one before, and on the one after it."""

    foresees = True

    def forward(self, magnitude, state=None):
        around = torch.nn.functional.pad(magnitude, (0, 0, 1, 1))
        return magnitude / (magnitude + around[:, :-2] + 2 * around[:, 2:] + 1e-6), state


def whole_song(network: torch.nn.Module, sound: np.ndarray, rate: int) -> np.ndarray:
    """The voice if a network that foresees hears the song all at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SEGMENT", 1e3)
        return separate(network, sound, rate, AUDIOS[0])


def test_a_song_shorter_than_a_segment_is_heard_at_once():
    """From its first frame to its last, in one call, with its ends turned round in place of what is missing there."""
    audio = AUDIOS[0]
    network, sound = make_network("RNN_bidirectional", audio), make_sound(1, 8000, audio.sample_rate)
    spectrum = stft(torch.from_numpy(sound), audio)
    with torch.inference_mode():
        heard = together(spectrum)
        frames = heard.shape[1]
        mask = network(torch.cat([heard.flip(1), heard, heard.flip(1)], dim=1))[0][:, frames : 2 * frames]
        expected = istft(mask * can_be_sung(audio) * spectrum, audio, sound.shape[1])
    assert np.abs(separate(network, sound, audio.sample_rate, audio) - expected.numpy()).max() < 1e-5


def test_a_segment_hears_no_more_than_its_context(short_segments):
    audio, calls = AUDIOS[0], []

    class Note(Around):
        def forward(self, magnitude, state=None):
            calls.append(magnitude.shape[1])
            return super().forward(magnitude, state)

    segment, context = (round(seconds * audio.sample_rate / audio.hop + 0.499) for seconds in (0.3, 0.1))
    samples = round(1.0 * audio.sample_rate)
    separate(Note(), make_sound(1, samples, audio.sample_rate), audio.sample_rate, audio)
    frames = audio.frames(samples)
    assert calls == [min(segment, frames - start) + 2 * context for start in range(0, frames, segment)]


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 44100), (8000, 16000), (192000, 16000), (44101, 16000)])
@pytest.mark.parametrize("size", [50, 1000, 10**6])
def test_resampled_in_pieces(rates, size):
    sound = make_sound(2, round(rates[0] * 0.3) + 7, rates[0])
    stream = Resampler(*rates, 2)
    pieces = [stream.push(sound[:, start : start + size]) for start in range(0, sound.shape[1], size)]
    resampled = np.concatenate([*pieces, stream.push(sound[:, :0], last=True)], axis=1)
    expected = resample(sound, *rates)
    assert resampled.shape == expected.shape and np.abs(resampled - expected).max() < 2e-6


@pytest.mark.parametrize("audio", [AudioConfig(16000, 2048, 512), AudioConfig()], ids=str)
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000, 192000])
def test_delay_is_at_most_a_block_and_a_hop(audio, rate):
    """An impulse that arrives within a stream of small pieces comes out while the next block and hop are arriving."""
    piece = rate // 1000
    for moment in (0.5, 0.5113, 0.523):  # at different places between two frames
        separator = Separator(LetThrough(), audio, rate, 1)
        at = round(moment * rate)
        arrived, seen, appeared = 0, 0, None
        while appeared is None:
            sound = np.zeros((1, piece), np.float32)
            if arrived <= at < arrived + piece:
                sound[0, at - arrived] = 1
            _, voice = separator.push(sound)
            arrived += piece
            seen += voice.shape[1]
            if voice.size and np.abs(voice).max() > 0.01 and seen > at:
                appeared = arrived
        assert (audio.block - audio.hop) / audio.sample_rate < (appeared - at) / rate
        assert (appeared - at) / rate <= (audio.block + audio.hop) / audio.sample_rate


def test_memory_does_not_grow():
    """What the engine holds after a minute is what it held after a second."""
    separator = Separator(make_network("RNN", AUDIOS[0]), AUDIOS[0], 44100, 2)
    held = []
    for _ in range(60):
        separator.push(np.zeros((2, 44100), np.float32))
        sounds = [separator.mixture, separator.to_network.sound, separator.from_network.sound]
        held.append(sum(sound.size for sound in sounds) + separator.sound.numel() + separator.sums[0].numel())
    assert max(held) < 1.2 * held[1]


class Half(torch.nn.Module):
    """Gives half to the voice, before its mask is raised to a power, if any."""

    def __init__(self, **config: float):
        super().__init__()
        self.config = argparse.Namespace(**config)

    def forward(self, magnitude, state=None):
        return torch.full_like(magnitude, 0.5), state


@pytest.mark.parametrize("kind", KINDS)
def test_a_separator_goes_with_its_stream(kind):
    """Without waiting for the garbage collector: each holds packed weights, and threads if there are several keys."""
    separator = Separator(make_network(kind, AUDIOS[0]), AUDIOS[0], 8000, 1, keys=3)
    separator.push(make_sound(1, 800, 8000), last=True)
    still_there = weakref.ref(separator)
    gc.disable()
    try:
        del separator
        assert still_there() is None
    finally:
        gc.enable()


def test_a_mask_is_raised_to_the_power_of_its_network(down_to_0_hz):
    sound = np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32)
    for network, share in ((Half(power=2.0), 0.25), (Half(), 0.5)):
        np.testing.assert_allclose(
            separate(network, sound, 8000, AudioConfig(8000, 256, 128)), share * sound, atol=1e-5
        )


def test_a_mask_is_left_as_it_is_above_8_kHz(down_to_0_hz):
    """There, SDR hardly counts, and voices must not become dull."""
    time = np.arange(32000) / 32000
    for hertz, share in ((7000, 0.25), (9000, 0.5)):
        tone = np.sin(2 * np.pi * hertz * time, dtype=np.float32)[None]
        voice = separate(Half(power=2.0), tone, 32000, AudioConfig(32000, 4096, 1024))
        np.testing.assert_allclose(voice[:, 4096:-4096], share * tone[:, 4096:-4096], atol=1e-3)
