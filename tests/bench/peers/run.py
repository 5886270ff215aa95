# SPDX-License-Identifier: MIT
"""Drives the contenders of `./dev bench peers`: starts them, compares what they
compute, lets ours and a peer take turns, prints a line of JSON per case and peer on
stdout and a table on stderr. Read contender.py for the protocol, ../README.md for how to
read the numbers.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import numpy as np

import contender
from cases import CASES, PEERS, forms

HERE = pathlib.Path(__file__).resolve().parent
MODULES = {"torch-eager": "torch", "torch-compile": "torch", "torchopt": "torchopt",
           "jax": "jax"}
TOLERANCE = 1e-4
SLICE_S = 0.05


class Failed(Exception):
    """A contender that ended, with what it said last."""


class Process:
    """A contender at the other end of two pipes."""

    def __init__(self, command, threads, log):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads),
                           OMP_WAIT_POLICY="passive", TF_CPP_MIN_LOG_LEVEL="2",
                           MKL_NUM_THREADS=str(threads))
        self.log = log
        with open(log, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, bufsize=1, env=environment)
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        said = pathlib.Path(self.log).read_text(encoding="utf-8").strip().splitlines()
        errors = [line for line in said if "Error" in line] or said
        raise Failed(errors[-1] if errors else f"ended with {self.process.returncode}")

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError:
            pass  # answer says why
        return self.answer()

    def milliseconds(self, calls, clock):
        reply = self.ask(f"run {calls}")
        return 1e3 * reply[clock] / reply["n"], reply["cpu"] / reply["wall"]

    def calls(self, clock):
        """How many fill a slice."""
        once = 1e-3 * self.milliseconds(1, clock)[0]
        return max(1, int(SLICE_S / (once + 1e-9)))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def normwise(a, b, names):
    """|a - b| / |a| over all elements of those names."""
    x, y = (np.concatenate([tensors[k].ravel() for k in names]).astype(np.float64)
            for tensors in (a, b))
    error = float(np.linalg.norm(x - y) / np.linalg.norm(x))
    return error if np.isfinite(error) else np.inf


def compare(ours, theirs):
    """The largest difference of losses, of each hypergradient, and of the parameters a
    training step led to."""
    a, b = (contender.read_tensors(path) for path in (ours, theirs))
    if set(a) != set(b):
        raise Failed(f"results have other names: {sorted(set(a) ^ set(b))}")
    results = [[k] for k in a if k == "losses" or k.startswith("gradient.")]
    theta = [k for k in a if [k] not in results]
    found = max(normwise(a, b, names) for names in results + [theta] * bool(theta))
    return float(f"{found:.2g}")


def agree(row, command, options, folder):
    """In f32 or, where roundings that flip a relu or meet a tiny gradient in Adam are
    not small in the end, in f64, in processes of their own."""
    stem = f"{PEERS[row['peer']][0].removesuffix('_cases.py')}-{row['form']}"

    def difference(dtype):
        return compare(folder / f"ours-{dtype}.safetensors",
                       folder / f"{stem}-{dtype}.safetensors")

    row["difference"] = difference("f32")
    if row["difference"] <= TOLERANCE:
        return
    for start in (ours_command(row["case"], options, folder), command):
        process = Process([*start, "f64"], options.threads, folder / f"{stem}-f64.log")
        process.ask("check")
        process.close()
    row["difference_f64"] = difference("f64")
    if row["difference_f64"] > TOLERANCE:
        raise Failed(f"disagrees by {row['difference']:.2g}, in f64 by "
                     f"{row['difference_f64']:.2g}; {TOLERANCE:g} is allowed")


def take_turns(ours, peer, rounds, threads):
    """Medians of ours, the peer, their ratio, and the peer's CPU seconds per second."""
    clock = "cpu" if threads == 1 else "wall"
    pair = (ours, peer)
    calls = [p.calls(clock) for p in pair]
    times = ([], [])
    busy = 0.0
    for i in range(rounds):
        for k in (0, 1) if i % 2 == 0 else (1, 0):
            ms, share = pair[k].milliseconds(calls[k], clock)
            times[k].append(ms)
            busy = max(busy, share)
    ratio = statistics.median(b / a for a, b in zip(*times))
    return statistics.median(times[0]), statistics.median(times[1]), ratio, busy


def ours_command(case, options, folder):
    return [options.ours, case, str(folder), str(options.threads)]


def measure(ours, case, peer, form, options, folder):
    """A row for one form of a peer, or why there is none."""
    row = {"case": case, "threads": options.threads, "peer": peer, "form": form}
    command = [python_of(peer, options), str(HERE / PEERS[peer][0]), case, str(folder),
               str(options.threads), form]
    process = None
    try:
        process = Process([*command, "f32"], options.threads,
                          folder / f"{peer}-{form}.log")
        row["prepare_s"] = process.ready["prepare_s"]
        process.ask("check")
        agree(row, command, options, folder)
        peak = process.ask("peak")["peak_mb"]
        ours_ms, peer_ms, speedup, busy = take_turns(ours, process, options.rounds,
                                                     options.threads)
        row.update(ours_ms=ours_ms, peer_ms=peer_ms, speedup=speedup, peer_peak_mb=peak)
        if busy > 1.05 * options.threads:
            row["note"] = f"{busy:.2f} threads were busy"
    except Failed as why:
        row["error"] = str(why)
    finally:
        if process:
            process.close()
    return row


HEAD = (f"{'case':13} {'peer':14} {'form':20} {'ours ms':>9} {'peer ms':>9} "
        f"{'speedup':>7} {'ours MB':>8} {'peer MB':>8} {'differ':>8} {'prepare':>11}")


def show(row, chosen):
    """A line of the table; chosen: the form that counts."""
    line = f"{row['case']:13} {row['peer']:14} {row['form']:20} "
    if "error" in row:
        line += row["error"]
    else:
        line += (f"{row['ours_ms']:9.4g} {row['peer_ms']:9.4g} {row['speedup']:7.2f} "
                 f"{row['ours_peak_mb']:8.1f} {row['peer_peak_mb']:8.1f} "
                 f"{row.get('difference_f64', row['difference']):8.1e}"
                 f"{' f64' if 'difference_f64' in row else '    '}"
                 f"{row['prepare_s']:6.1f} s"
                 f"{' *' if chosen else ''} {row.get('note', '')}")
    print(line.rstrip(), file=sys.stderr, flush=True)


def numbers(row):
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def run_peer(ours, ours_peak, case, peer, options, folder):
    rows = [measure(ours, case, peer, form, options, folder)
            for form in forms(peer, case)]
    timed = [row for row in rows if "error" not in row]
    best = min(timed, key=lambda row: row["peer_ms"] / row["ours_ms"], default=None)
    for row in rows:
        row["ours_peak_mb"] = ours_peak
        show(row, row is best)
    for row in [best] if best else rows[:1]:
        print(json.dumps(numbers(row)), flush=True)


def run_case(case, options, missing):
    folder = options.work / "work" / case
    folder.mkdir(parents=True, exist_ok=True)
    ours = Process([*ours_command(case, options, folder), "f32"], options.threads,
                   folder / "ours.log")
    ours.ask("check")
    peak = ours.ask("peak")["peak_mb"]
    for peer in options.peers:
        if peer in missing:
            row = {"case": case, "threads": options.threads, "peer": peer, "form": "-",
                   "error": f"not installed: {missing[peer]}"}
            show(row, False)
            print(json.dumps(row), flush=True)
        else:
            run_peer(ours, peak, case, peer, options, folder)
    ours.close()
    shutil.rmtree(folder)


def why_missing(module, options):
    """What pip said last, or the import; None: it is there."""
    done = subprocess.run([python_of(module, options), "-c", f"import {module}"],
                          text=True, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    log = options.work / f"{module}.log"
    said = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    errors = [line for line in said if line.startswith("ERROR")]
    return (errors or done.stderr.strip().splitlines())[-1]


def python_of(name, options):
    return options.torch_python if name.startswith("torch") else sys.executable


def missing_peers(options):
    """{peer: reason} of those that are not installed."""
    reasons = {name: why_missing(name, options) for name in set(MODULES.values())}
    return {peer: reasons[name] for peer, name in MODULES.items() if reasons[name]}


def arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench peers",
        description="The same work by hypertape and by others.")
    parser.add_argument("names", nargs="*",
                        help=f"cases ({', '.join(CASES)}) and peers "
                        f"({', '.join(PEERS)}); all if none")
    parser.add_argument("--quick", action="store_true", help="3 repetitions (default)")
    parser.add_argument("--full", action="store_true", help="9 repetitions")
    parser.add_argument("--threads", type=int, default=1,
                        help="1: CPU time; more: wall time, for a machine that is idle")
    parser.add_argument("--ours", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", required=True, type=pathlib.Path,
                        help=argparse.SUPPRESS)
    parser.add_argument("--torch-python", default=sys.executable,
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in {**CASES, **PEERS}]
    if unknown:
        parser.error(f"no case or peer \"{unknown[0]}\"")
    options.rounds = 9 if options.full else 3
    options.cases = [c for c in CASES if c in options.names] or list(CASES)
    options.peers = [p for p in PEERS if p in options.names] or list(PEERS)
    return options


def main():
    options = arguments()
    missing = missing_peers(options)
    print(HEAD, file=sys.stderr)
    for case in options.cases:
        run_case(case, options, missing)


if __name__ == "__main__":
    main()
