# SPDX-License-Identifier: MIT
"""files.py: files that numpy, pandas and Pillow write, and what they read of them, for the
tests of data/. Run here it writes files/ and csv.txt anew; needs the three packages. The
checksums are CRC-32 of the elements, little-endian, row-major."""
import os
import struct
import zlib

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

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


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(
        ">I", zlib.crc32(kind + data)
    )


def png(width, height, bits, colour, rows, interlaced, before=b""):
    """Of rows(x0, y0, dx, dy), the bytes of each row of a pass; filters 0 to 4 in turn."""
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
        passes += [(1, 0, 2, 2), (0, 1, 1, 2)]
    depth = max(1, bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8)
    data = b""
    for x0, y0, dx, dy in passes:
        above = None
        for number, row in enumerate(rows(x0, y0, dx, dy)):
            if not row:
                continue
            kind = number % 5
            above = above or bytes(len(row))
            left = bytes(depth) + row[:-depth] if len(row) > depth else bytes(len(row))
            corner = (bytes(depth) + above)[: len(row)]
            guess = [
                lambda a, b, c: 0,
                lambda a, b, c: a,
                lambda a, b, c: b,
                lambda a, b, c: (a + b) // 2,
                lambda a, b, c: min(
                    (abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c)
                )[2],
            ][kind]
            data += bytes([kind]) + bytes(
                (r - guess(a, b, c)) & 255 for r, a, b, c in zip(row, left, above, corner)
            )
            above = row
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + before
        + png_chunk(b"IDAT", zlib.compress(data, 9))
        + png_chunk(b"IEND", b"")
    )


def as_rgba(path):
    """By Pillow, but for grey of 16 bits, where it cuts off what is above 255."""
    image = Image.open(path)
    if image.mode.startswith("I"):
        x = (np.array(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.stack([x, x, x, np.full(x.shape, 255, np.uint8)], -1)
    return np.array(image.convert("RGBA"))


def on_white(rgba):
    c, a = rgba[..., :3].astype(int), rgba[..., 3:].astype(int)
    return ((c * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def pictures():
    rng = np.random.default_rng(2)
    table = []

    def add(name, how, x):
        table.append(f"{name} {how} shape {' '.join(map(str, [x.ndim, *x.shape]))} {crc(x)}")

    for colour, depths in {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}.items():
        for bits in depths:
            for kind in ["", "i", "t"]:
                if kind == "t" and colour > 3:
                    continue
                width, height = 11, 9
                samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
                x = rng.integers(0, 2**bits, (height, width, samples))
                if bits == 16 and kind == "t":
                    x[2:5] = x[0, 0]
                before = b""
                if colour == 3:
                    before = png_chunk(b"PLTE", rng.bytes(3 * 2**bits))
                if kind == "t":
                    key = x[0, 0].astype(">u2").tobytes()
                    before += png_chunk(b"tRNS", rng.bytes(2 ** (bits - 1)) if colour == 3 else key)

                def rows(x0, y0, dx, dy):
                    part = x[y0::dy, x0::dx].reshape(len(x[y0::dy]), -1)
                    if bits == 16:
                        return [r.astype(">u2").tobytes() for r in part]
                    if bits == 8:
                        return [r.astype("u1").tobytes() for r in part]
                    spread = (part[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
                    return [np.packbits(r.reshape(-1)).tobytes() for r in spread]

                name = f"p{colour}_{bits}{kind}.png"
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(png(width, height, bits, colour, rows, kind == "i", before))
                rgba = as_rgba(os.path.join(folder, name))
                if kind == "t" and colour != 3:  # Pillow compares what it has scaled
                    rgba[..., 3] = np.where((x == x[0, 0]).all(-1), 0, 255)
                add(name, "white", on_white(rgba))
    for name, size in [("p2_8i.png", (1, 1)), ("p2_8i.png", (4, 3)), ("p2_8.png", (25, 17)), ("p2_8.png", (11, 4))]:
        image = Image.open(os.path.join(folder, name))
        for how, filter in [("bilinear", Image.BILINEAR), ("area", Image.BOX)]:
            add(name, f"{how} {size[0]} {size[1]}", np.array(image.resize(size, filter)))
    image = Image.open(os.path.join(folder, "p2_8.png"))
    add("p2_8.png", "grey", np.array(image.convert("L")))
    add("p2_8.png", "crop 5 5", np.array(image.resize((5, 5), Image.BILINEAR, box=(1, 0, 10, 9))))
    with open(os.path.join(here, "pictures.txt"), "w") as f:
        f.write("# Picture, how it is read, axes, checksum: files.py.\n")
        f.write("\n".join(table) + "\n")

    # What Pillow decodes of each JPEG stands beside it as a PNG.
    y, x = np.mgrid[0:37, 0:45]
    smooth = np.stack([120 + 100 * np.sin(x / 9 + y / 5), 4 * x + y, 255 - 5 * y], -1)
    smooth = np.clip(smooth + rng.normal(size=smooth.shape) * 6, 0, 255).astype(np.uint8)
    for name, how in {
        "plain": {"quality": 90, "subsampling": 0},
        "half": {"quality": 80, "subsampling": 1},
        "quarter": {"quality": 75, "subsampling": 2},
        "progressive": {"quality": 85, "progressive": True},
        "restart": {"quality": 85, "restart_marker_blocks": 2},
        "coarse": {"quality": 20, "optimize": True},
    }.items():
        Image.fromarray(smooth).save(os.path.join(folder, name + ".jpg"), **how)
    Image.fromarray(smooth[..., 0]).save(os.path.join(folder, "grey.jpg"), quality=85)
    Image.fromarray(smooth).save(os.path.join(folder, "rgb.jpg"), quality=90, keep_rgb=True)
    Image.fromarray(smooth).convert("CMYK").save(os.path.join(folder, "cmyk.jpg"))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        corner = Image.fromarray(smooth[:16, :24])
        name = f"turned{orientation}.jpg"
        corner.save(os.path.join(folder, name), quality=90, subsampling=0, exif=exif)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jpg") and name != "cmyk.jpg":
            image = ImageOps.exif_transpose(Image.open(os.path.join(folder, name)))
            image.convert("RGB").save(os.path.join(folder, name[:-4] + "_jpg.png"), optimize=True)


if __name__ == "__main__":
    os.makedirs(folder, exist_ok=True)
    csv()
    npy()
    pictures()
