"""Encoders by name. Each one makes the layers before and after a network's code, the code being what a frame holds.

    dense       fully connected layers over all bins, the course's    code (code,)
    bands       a layer for each band of neighbouring bins            code (bands, features)
    conv        convolutions along frequency                          code (bands, features)

An encoder is a dataclass of the sizes that it needs, and offers

    code_shape                     the shape of one frame's code, features last
    make_encoder()                 compressed magnitude (..., bins) -> code (..., *code_shape)
    make_decoder()                 code (..., *code_shape) -> mask (..., bins) in [0, 1]
    make_fusion(memory, hidden)    code, and `memory` values more per band -> code (..., *code_shape)

The last is for the recurrent network. All but the dense one look at parts of the spectrum and mix what they find. They
have at most a third of its weights, and what they learn mostly generalises better to other singers, but they take up
to three times as long.
"""

import dataclasses
from typing import Any

from networks.bands import Bands
from networks.conv import Conv
from networks.dense import Dense

Encoder = Dense | Bands | Conv
ENCODERS: dict[str, type[Encoder]] = {"dense": Dense, "bands": Bands, "conv": Conv}


def encoder_of(config: Any) -> Encoder:
    """The encoder named by `config.encoder`, with the sizes it takes from a network's config."""
    kind = ENCODERS[config.encoder]
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})
