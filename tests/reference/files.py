# SPDX-License-Identifier: MIT
"""files.py: files that numpy, pandas and Pillow write, and what they read of them, for the
tests of data/. Run here it writes files/ and csv.txt anew; needs the three packages. The
checksums are CRC-32 of the elements, little-endian, row-major."""
import io
import os
import zlib

import numpy as np
import pandas as pd

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "files")


def crc(x):
    return zlib.crc32(np.ascontiguousarray(x).tobytes())


def csv():
    rng = np.random.default_rng(0)
    lines = []
    for name, width, options in [
        ("plain.csv", 4, {}),
        ("windows.csv", 8, {"lineterminator": "\r\n", "encoding": "utf-8-sig"}),
        ("quoted.csv", 8, {"quoting": 1}),
    ]:
        n = 12
        scale = 10.0 ** rng.integers(-30, 30, (n, 3))
        x = (rng.normal(size=(n, 3)) * scale).astype(f"f{width}")
        frame = pd.DataFrame(x, columns=["a", "b, c", 'say "d"'])
        frame.loc[3, "a"] = np.nan
        frame["whole"] = rng.integers(-(10**6), 10**6, n)
        frame["text"] = [f'"{i}",\n or so' for i in range(n)]
        frame["label"] = rng.choice(["dog", "cat, tabby", "Äffchen"], n)
        path = os.path.join(folder, name)
        frame.to_csv(path, index=False, **options)
        back = pd.read_csv(path)
        values = back.drop(columns=["text", "label"]).to_numpy().astype(f"f{width}")
        classes = sorted(set(back["label"]), key=lambda s: s.encode())
        labels = np.array([classes.index(c) for c in back["label"]], np.int32)
        names = " ".join(f'"{c}"' for c in classes)
        lines.append(f"{name} {width} {n} {values.shape[1]} {crc(values)} {crc(labels)} {names}")
    with open(os.path.join(here, "csv.txt"), "w") as f:
        f.write("# Bytes of a number, rows, columns, checksums of x and labels, classes: files.py.\n")
        f.write("\n".join(lines) + "\n")


os.makedirs(folder, exist_ok=True)
csv()
