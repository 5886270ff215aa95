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


def held(x):
    """As the library holds it."""
    kinds = {"f2": "f4", "f4": "f4", "f8": "f8", "u1": "u1", "b1": "u1"}
    return x.astype(kinds.get(x.dtype.str[1:], "i4"))


def npy():
    rng = np.random.default_rng(1)
    types = {}
    for order in "<>":
        for kind in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split():
            x = rng.integers(0, 2**32, (2, 3, 5), np.uint32).view("i4")
            if kind[0] == "f":
                x = rng.normal(size=x.shape) * 10.0 ** rng.integers(-6, 4, x.shape)
            if kind in ("u4", "u8"):
                x = x & 0x7FFFFFFF
            x = (x & 1 if kind == "b1" else x).astype(order + kind)
            if kind[0] == "f":
                x.reshape(-1)[:4] = [np.inf, -np.inf, np.nan, -0.0]
            if kind in ("i4", "i8"):
                x.reshape(-1)[:2] = [-(2**31), 2**31 - 1]
            types[f"{'big' if order == '>' else 'little'} {kind}"] = x
    types["fortran"] = np.asfortranarray(rng.normal(size=(2, 3, 4)).astype("f4"))
    types["fortran big"] = np.asfortranarray(types["big i8"][0])
    types["Äpfel"] = np.float32(1.5) * np.ones(())
    types["empty"] = np.ones((0, 3), "f4")
    types["axes"] = rng.normal(size=(1, 2, 1, 3, 1, 2))
    np.savez_compressed(os.path.join(folder, "types.npz"), **types)
    few = {name: types[name] for name in ["little f4", "empty", "Äpfel"]}
    np.savez(os.path.join(folder, "stored.npz"), **few)
    alone = {}
    for name, x, version in [
        ("f4", types["little f4"], (1, 0)),
        ("f8", types["axes"], (1, 0)),
        ("i4", types["little i4"][0, 0], (1, 0)),
        ("u1", types["little u1"], (1, 0)),
        ("scalar", types["Äpfel"], (1, 0)),
        ("empty", types["empty"], (1, 0)),
        ("fortran", types["fortran"], (2, 0)),
        ("big", types["big f8"], (3, 0)),
        ("long", rng.integers(-5, 5, 7), (1, 0)),
    ]:
        alone[name + ".npy"] = x
        with open(os.path.join(folder, name + ".npy"), "wb") as f:
            np.lib.format.write_array(f, x, version=version)
    with open(os.path.join(here, "npy.txt"), "w") as f:
        f.write("# File, array, type, axes, checksum of the elements as held: files.py.\n")
        for file, arrays in [("types.npz", types), ("stored.npz", few)] + [
            (name, {"-": x}) for name, x in alone.items()
        ]:
            for name, x in arrays.items():
                y = held(x)
                kind = {"f4": "f32", "f8": "f64", "i4": "i32", "u1": "u8"}[y.dtype.str[1:]]
                shape = " ".join(map(str, [y.ndim, *y.shape]))
                f.write(f'{file} "{name}" {kind} shape {shape} {crc(y)}\n')


os.makedirs(folder, exist_ok=True)
csv()
npy()
