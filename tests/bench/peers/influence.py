# SPDX-License-Identifier: MIT
"""Drives `./dev bench influence`: for every setting and seed ours writes a training and
its truth, every contender says what leaving an example out does, and ours judges all by
that truth. A line of JSON per method on stdout, a table on stderr. Read
../influence_peer.c for what is asked, influence_torch.py for what a contender is,
../NOTES.md for the protocol and what was found.
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

from contender import read_tensors
from run import why_missing

HERE = pathlib.Path(__file__).resolve().parent
SETTINGS = ("logistic", "dvemb", "gelu")
DEFAULT = ("logistic", "dvemb")
# method: its package, the file that runs it, and settings where it is not run, with why
HESSIAN = "a Hessian of 109,386 x 109,386 floats is 48 GB"
METHODS = {
    "if-explicit": ("dattri", {"dvemb": HESSIAN, "gelu": HESSIAN}),
    "if-cg": ("dattri", {}),
    "if-arnoldi": ("dattri", {}),
    "if-lissa": ("dattri", {}),
    "tracin": ("dattri", {}),
    "grad-dot": ("dattri", {}),
    "grad-cos": ("dattri", {}),
    "trak": ("dattri", {}),
    "rps": ("dattri", {}),
    "dvemb": ("dattri", {"gelu": "its recursion is that of descent without momentum"}),
    "magic": ("bergson", {}),
}
SIZES = ("1", "50", "250", "1000", "2500")  # examples left out, of 5,000
CHOSEN_BY = "250"
RESAMPLES = 200
CPU_LIMIT_S = 900  # of CPU, for one process


def lines_of(command, options, log):
    """What a process says in JSON, or a row of why it failed."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1",
                       TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    limit = ["sh", "-c", f'ulimit -t {options.limit}; exec "$@"', "sh"]
    with open(log, "w", encoding="utf-8") as errors:
        done = subprocess.run([*limit, *command], stdout=subprocess.PIPE, stderr=errors,
                              text=True, env=environment, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    if done.returncode:
        said = pathlib.Path(log).read_text(encoding="utf-8").strip().splitlines()
        errors = [line for line in said if "Error" in line] or said
        why = ("more of the processor than --limit" if done.returncode in (-9, -24)
               else f"ended by signal {-done.returncode}" if done.returncode < 0
               else errors[-1][:160] if errors else f"ended with {done.returncode}")
        rows.append({"form": "-", "error": why})
    return rows


def judge(row, options, folder, resamples=0):
    if "file" in row:
        done = subprocess.run([options.ours, "judge", folder, row["file"],
                               str(resamples)], stdout=subprocess.PIPE, text=True,
                              check=True)
        row["lds"] = json.loads(done.stdout)
    return row


def ours_of(setting, seed, options, folder):
    """Two rows, of all queries and of one within a budget; and about the training."""
    log = folder / "hypertape.log"
    said = lines_of([options.ours, setting, str(seed), folder], options, log)[0]
    if "error" in said:
        raise SystemExit(f"bench influence: ours: {said['error']} ({log})")
    every = {"peer": "hypertape", "form": "all states", "queries": 20, "file": "hypertape",
             **{k: said[k] for k in ("score_s", "peak_mb", "process_mb")}}
    one = {"peer": "hypertape", "form": "in a budget", "queries": 1,
           "score_s": said["lean_s"], "peak_mb": said["lean_peak_mb"]}
    return [judge(every, options, folder, RESAMPLES), one], said


def beside_ours(row, folder):
    """|difference| / |ours| of an exact method's scores."""
    if row["peer"] == "magic" and "file" in row:
        theirs = read_tensors(folder / f"{row['file']}.safetensors")["scores"]
        ours = read_tensors(folder / "hypertape.safetensors")["scores"][:len(theirs)]
        row["differs"] = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))


def best_of(rows):
    """By LDS at 5 %, a choice that favours a method of several forms; of those that ask
    a different number of queries each stays."""
    kept = []
    for queries in sorted({row.get("queries", 0) for row in rows}):
        same = [row for row in rows if row.get("queries", 0) == queries]
        kept.append(max(same, key=lambda r: r["lds"][CHOSEN_BY][0] or -1
                        if "lds" in r else -2))
    return kept


def peer_rows(method, setting, options, folder, missing):
    package, not_run = METHODS[method]
    why = not_run.get(setting) or missing.get(package)
    if why:
        return [{"peer": method, "form": "-", "error": why}]
    file = "influence_magic.py" if package == "bergson" else "influence_dattri.py"
    rows = lines_of([options.torch_python, HERE / file, setting, folder, method],
                    options, folder / f"{method}.log")
    rows = [judge({"peer": method, **row}, options, folder) for row in rows]
    kept = best_of(rows)
    for row in kept:
        beside_ours(row, folder)
        judge(row, options, folder, RESAMPLES)
        if len(rows) > 1 and len(kept) == 1:
            row["of_forms"] = len(rows)
    return kept


HEAD = (f"{'setting':9} {'method':12} {'form':17} {'queries':>7} {'LOO r':>6} "
        f"{'LDS 1 %':>8} {'5 %':>6} {'5 %, 95 % of it':>16} {'20 %':>6} {'50 %':>6} "
        f"{'CPU s':>7} {'peak MB':>8}")


def median(rows, get):
    found = [value for value in (get(row) for row in rows) if value is not None]
    return statistics.median(found) if found else None


def number(value, text):
    return "-" if value is None else format(value, text)


def show(setting, rows):
    """A line: medians over seeds, the interval from the lowest end to the highest."""
    first = next((row for row in rows if "score_s" in row), rows[0])
    line = f"{setting:9} {first['peer']:12} "
    if "score_s" not in first:
        print(line + first["error"], file=sys.stderr, flush=True)
        return
    lds = {k: median(rows, lambda r, k=k: r.get("lds", {}).get(k, [None])[0])
           for k in SIZES}
    alone = median(rows, lambda r: r.get("lds", {}).get("1", [None] * 4)[3])
    ends = [r["lds"][CHOSEN_BY] for r in rows if "lds" in r]
    between = "-"
    if ends and None not in ends[0]:
        between = f"{min(e[1] for e in ends):.3f} to {max(e[2] for e in ends):.3f}"
    print(f"{line}{first['form']:17} {first['queries']:7} {number(alone, '.3f'):>6} "
          f"{number(lds['50'], '.3f'):>8} {number(lds['250'], '.3f'):>6} {between:>16} "
          f"{number(lds['1000'], '.3f'):>6} {number(lds['2500'], '.3f'):>6} "
          f"{number(median(rows, lambda r: r.get('score_s')), '.2f'):>7} "
          f"{number(median(rows, lambda r: r.get('peak_mb')), '.0f'):>8}"
          + (f"  scores within {max(r['differs'] for r in rows):.1e} of ours"
             if "differs" in first else "")
          + (f"  best of {first['of_forms']}" if "of_forms" in first else ""),
          file=sys.stderr, flush=True)


def say(setting, seeds, rows):
    print(json.dumps({"setting": setting, "seeds": seeds, "rows": rows}), flush=True)
    show(setting, rows)


def run_setting(setting, options, missing):
    """Every seed of a method before the next one, so that a table grows from the top."""
    folders = {}
    ours, about, same = [], [], []
    for seed in range(1, options.seeds + 1):
        folder = folders[seed] = options.work / "influence" / f"{setting}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        rows, said = ours_of(setting, seed, options, folder)
        ours.append(rows)
        about.append(said)
        if "torch" not in missing:
            same += lines_of([options.torch_python, HERE / "influence_torch.py", setting,
                              folder], options, folder / "torch.log")
    for rows in zip(*ours):
        say(setting, options.seeds, list(rows))
    for method in options.methods:
        found = [peer_rows(method, setting, options, folders[seed], missing)
                 for seed in folders]
        for rows in zip(*found):
            say(setting, options.seeds, list(rows))
    note = {"setting": setting, "ours": about, "torch": same}
    print(json.dumps(note), flush=True)
    print(f"{setting}: S^ {min(a['smooth'] for a in about):.4f}; a plain training "
          f"{statistics.median(a['train_s'] for a in about):.2f} s, "
          f"{statistics.median(a['truth_s'] for a in about):.0f} s of trainings are the "
          "truth", file=sys.stderr)
    for row in [r for r in same if "theta" in r]:
        print(f"{setting}: PyTorch's own training {row['train_s']:.2f} s; its end is "
              f"within {row['theta']:.1e} of ours, margins {row['margins']:.1e}, what "
              f"leaving 5 % out does {row['changes']:.1e}", file=sys.stderr)
    if not options.keep:
        for folder in folders.values():
            shutil.rmtree(folder)


def arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench influence",
        description="Which training examples mattered: hypertape beside others.")
    parser.add_argument("names", nargs="*",
                        help=f"settings ({', '.join(SETTINGS)}) and methods "
                        f"({', '.join(METHODS)}); logistic, dvemb and all methods if "
                        "none")
    parser.add_argument("--seeds", type=int, default=1, help="of each setting (1)")
    parser.add_argument("--limit", type=int, default=CPU_LIMIT_S,
                        help="CPU seconds of one process")
    parser.add_argument("--keep", action="store_true", help="keep scores and truth")
    parser.add_argument("--ours", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", required=True, type=pathlib.Path,
                        help=argparse.SUPPRESS)
    parser.add_argument("--torch-python", default=sys.executable,
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [n for n in options.names if n not in SETTINGS and n not in METHODS]
    if unknown:
        parser.error(f"no setting or method \"{unknown[0]}\"")
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}, expected at least 1")
    options.settings = [s for s in SETTINGS if s in options.names] or list(DEFAULT)
    options.methods = [m for m in METHODS if m in options.names] or list(METHODS)
    return options


def main():
    options = arguments()
    reasons = {name: why_missing(name, options) for name in ("torch", "dattri", "bergson")}
    missing = {name: f"not installed: {why}" for name, why in reasons.items() if why}
    if "torch" in missing:
        missing = dict.fromkeys(reasons, missing["torch"])
    print(HEAD, file=sys.stderr)
    for setting in options.settings:
        run_setting(setting, options, missing)


if __name__ == "__main__":
    main()
