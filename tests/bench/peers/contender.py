# SPDX-License-Identifier: MIT
"""What every contender shares: tensors in files, and answering the driver over pipes.

A contender is a process: `<framework>_cases.py CASE FOLDER THREADS FORM DTYPE`. It
reads the initial tensors from FOLDER, compiles, warms up, says "ready", and then obeys
lines on stdin, each answered by one line of JSON on stdout:

    check   results from the initial values, to
            FOLDER/<framework>-<form>-<dtype>.safetensors
    run N   at least N times the work; {"n": times, "cpu": seconds, "wall": seconds}
    peak    once the work; {"peak_mb": peak resident above the resident size before}
    quit

Read next: run.py, which drives, and torch_cases.py.
"""
import ctypes
import gc
import json
import os
import struct
import sys
import time

import numpy as np

from cases import CASES

DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "U8": np.uint8}
CHECK_STEPS = 10


def read_tensors(path):
    """A safetensors file as {name: array}."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])],
                                DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
            for name, entry in header.items()}


def read_initial(folder, name):
    """hypertape's set of that name, floats as this process computes in."""
    tensors = read_tensors(f"{folder}/{name}.safetensors")
    return {name: value.astype(np.float64) if value.dtype == np.float32 and is_f64()
            else value for name, value in tensors.items()}


def is_f64():
    return sys.argv[-1] == "f64"


def threads():
    return int(sys.argv[3])


def write_tensors(path, tensors):
    """The same backwards; everything becomes f64."""
    header, offset, parts = {}, 0, []
    for name, value in tensors.items():
        part = np.ascontiguousarray(value, np.float64).tobytes()
        header[name] = {"dtype": "F64", "shape": list(np.shape(value)),
                        "data_offsets": [offset, offset + len(part)]}
        offset += len(part)
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def memory_kb(field):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def peak_mb(work):
    """Peak of one run over what is resident before it, what was freed given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = memory_kb("VmRSS:")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    work()
    return (memory_kb("VmHWM:") - before) / 1024


def timed(work, n):
    cpu, wall = time.process_time(), time.perf_counter()
    n = work(n)  # more, where several make one call
    return {"n": n, "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall}


def serve(name, make):
    """make(case, folder, form) gives an object with check() and run(n)."""
    case, folder, _, form, dtype = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a framework prints is not an answer

    def answer(reply):
        print(json.dumps(reply), file=answers)

    start = time.perf_counter()
    contender = make(CASES[case], folder, form)
    results = contender.check()
    contender.run(1)
    answer({"ready": True, "prepare_s": round(time.perf_counter() - start, 2)})
    for line in sys.stdin:
        words = line.split()
        if words[0] == "run":
            answer(timed(contender.run, int(words[1])))
        elif words[0] == "peak":
            answer({"peak_mb": peak_mb(lambda: contender.run(1))})
        elif words[0] == "check":
            write_tensors(f"{folder}/{name}-{form}-{dtype}.safetensors", results)
            results = None
            answer({"done": True})
        else:
            break
