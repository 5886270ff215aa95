# SPDX-License-Identifier: MIT
"""pngsuite.py: what Pillow reads of the pictures in files/pngsuite, for test_data_picture.c.
Run here it writes pngsuite.txt anew; needs numpy, Pillow and pypng, which is asked where
Pillow looks at a colour that is transparent only after it has cut 16 bits to 8."""
import os

import numpy as np
import png
from PIL import Image

from files import as_rgba, crc, on_white

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files", "pngsuite")


def by_pypng(path):
    width, height, rows, info = png.Reader(path).asRGBA()
    x = np.array([list(row) for row in rows]).reshape(height, width, 4)
    return (x >> (info["bitdepth"] - 8)).astype(np.uint8)


with open(os.path.join(folder, "..", "..", "pngsuite.txt"), "w") as f:
    f.write("# Picture, how it is read, axes, checksum: pngsuite.py.\n")
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".png"):
            continue
        path = os.path.join(folder, name)
        deep = png.Reader(path)
        deep.preamble()
        cut = deep.bitdepth == 16 and deep.trns is not None
        x = on_white(by_pypng(path) if cut else as_rgba(path))
        f.write(f"pngsuite/{name} white shape 3 {x.shape[0]} {x.shape[1]} 3 {crc(x)}\n")
