"""
A fit that is killed, and goes on
=================================

A dictionary is learnt from a file, batch by batch, by a process that writes checkpoints. At moments that nothing announces
it is killed (SIGKILL: it can neither catch that nor clean up) and started again with the same arguments, until it is
through. Another process learns the same and is left alone. The claim: both end in the same bits, of all that a fit holds,
and had the same objective wherever both were looked at.

The rows are patches of photographs, stored in a random order by `write_tiles`. If a bit differs the exit status is 1. All
takes about a minute of processor time. ``--kills 20`` kills more often, ``--seed 1`` at other moments.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Timer
from time import perf_counter

import numpy as np

N, SIDE, K, ALPHA, BATCH, EPOCHS = 40_000, 8, 64, 0.1, 256, 3
LOOK, EVERY = 10, 1.0  # batches between two looks at the objective, seconds between two checkpoints

# %%
# The process that fits
# ---------------------
# After each batch it says how many there were and, every so many, what the objective is of rows that were held out.


def fit(folder, checkpoints):
    from benchmarks.evaluate import dictionary_objective
    from jaxlearn import enable_compile_cache, stream
    from jaxlearn.decomposition import StochasticFactorization

    enable_compile_cache(folder / "programs")  # the processes that follow need not compile
    held_out = np.load(folder / "held_out.npy")

    def tell(told):
        objective = np.nan
        if told.n_steps % LOOK == 0:
            objective = dictionary_objective(told.components, held_out, l1=ALPHA).objective
        print(told.n_steps, repr(float(objective)), flush=True)

    StochasticFactorization(
        K,
        alpha=ALPHA,
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0.0,
        checkpoint=checkpoints,
        every=EVERY,
        callback=tell,
        random_state=0,
    ).fit(stream(folder / "tiles", block_size=8192))


# %%
# The process that kills
# ----------------------
# It waits until it is told of a batch that was drawn at random, and then for a random time. Whatever the fit does at that
# moment ends there, be it that a checkpoint is half written.


def live(folder, name, batch=np.inf, delay=0.0):
    """What one process told, (batches, objective) each, and whether it was killed, `delay` seconds after a batch."""
    command = [sys.executable, sys.argv[0], "--fit", str(folder), "--checkpoints", str(folder / name)]
    told, killer = [], None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if not line.endswith("\n"):  # the last one may be torn
                break
            told.append([float(number) for number in line.split()])
            if killer is None and told[-1][0] >= batch:
                killer = Timer(delay, child.kill)
                killer.start()
    if child.returncode > 0:
        raise RuntimeError("The fit failed.")
    return np.array(told), child.returncode < 0


def newest(folder):
    """Number of batches, arrays and header of the newest checkpoint; 0 batches where there is none."""
    from jaxlearn.access import checkpoint

    found = checkpoint.load(folder, {})
    return (0, {}, {}) if found is None else (int(found[1]["n_steps"]), *found[1:])


def differences(folder, whole, lives):
    """What is not the same to the bit: arrays of the last checkpoints, or the objective at some batch."""
    (_, arrays, header), (_, again, header_again) = newest(folder / "whole"), newest(folder / "killed")
    found = [name for name in arrays if arrays[name].tobytes() != again[name].tobytes()]
    objectives = dict(whole)
    looked = [look for life in lives for look in life if not np.isnan(look[1])]
    found += [f"the objective at batch {at:.0f}" for at, objective in looked if objectives[at] != objective]
    judged = [[epoch["objective"] for epoch in h["history"]] for h in (header, header_again)]
    found += ["the objectives of the epochs"] * (judged[0] != judged[1])
    numbers = sum(array.size for array in arrays.values())
    print(f"compared: {len(arrays)} arrays of {numbers} numbers, {len(looked)} objectives on the way")
    return found


# %%
# The picture
# -----------
# Grey, the fit that was left alone; on it in colours, one for each life, the fit that was killed. A line is a kill, and an
# arrow leads back to the checkpoint that was taken up.


def draw(whole, lives):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (curve, steps) = plt.subplots(
        2, 1, figsize=(11, 6.5), sharex=True, height_ratios=[3, 2], layout="constrained"
    )
    colors = plt.get_cmap("turbo")(np.linspace(0.1, 0.9, len(lives)))
    at, objective = whole[~np.isnan(whole[:, 1])].T
    curve.plot(at, objective, color="0.8", lw=6, label="left alone")
    for number, (life, color) in enumerate(zip(lives, colors, strict=True), 1):
        at, objective = life[~np.isnan(life[:, 1])].T
        curve.plot(at, objective, ".-", ms=4, lw=1, color=color, label=f"life {number}")
        steps.barh(number, life[-1, 0] - life[0, 0] + 1, left=life[0, 0] - 1, height=0.6, color=color)
        if number < len(lives):
            killed, again = life[-1, 0], lives[number][0, 0] - 1
            for axis in (curve, steps):
                axis.axvline(killed, color="0.3", ls=":", lw=0.8)
            steps.annotate(
                "",
                (again, number + 0.65),
                (killed, number + 0.35),
                arrowprops={"arrowstyle": "->", "color": "0.15", "shrinkA": 0, "shrinkB": 0},
            )
    curve.set(ylabel="objective of rows that were held out", title="Killed again and again, it learns the same")
    curve.legend(frameon=False, ncols=2)
    steps.set(xlabel="batches that were learnt from", ylabel="life", yticks=range(1, len(lives) + 1))
    steps.set_title("What each life did, until it was killed (dotted)")
    steps.invert_yaxis()
    # not __file__, which the gallery of the documentation does not define
    picture = Path(sys.argv[0]).resolve().with_suffix(".png")
    figure.savefig(picture, dpi=120)
    print(f"The picture: {picture}")


def main():
    parser = argparse.ArgumentParser(description="A fit that is killed, and goes on")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--fit", type=Path, metavar="FOLDER", help="fit the rows in this folder, and do no more")
    parser.add_argument("--checkpoints", type=Path, metavar="FOLDER", help="with --fit")
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit, arguments.checkpoints)
        return
    from benchmarks.data import patches
    from jaxlearn.access import write_tiles

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        X, held_out, source = patches(N, SIDE, n_heldout=300)
        write_tiles(X, folder / "tiles")
        np.save(folder / "held_out.npy", held_out)
        print(f"{source}; {K} atoms, {EPOCHS} epochs of batches of {BATCH}", flush=True)
        begin = perf_counter()
        whole, _ = live(folder, "whole")
        print(f"left alone: {len(whole)} batches in {perf_counter() - begin:.1f} s, a checkpoint every {EVERY:g} s")

        random, lives, killed = np.random.default_rng(arguments.seed), [], True
        batches = np.sort(random.choice(len(whole) - 10, arguments.kills, replace=False)).tolist()
        while killed:
            batch, delay = batches.pop(0) if batches else np.inf, random.uniform(0, 0.1)
            found, _, _ = newest(folder / "killed")
            life, killed = live(folder, "killed", batch, delay)
            lives.append(life)
            begun = f"takes up the checkpoint of batch {found}" if found else "finds no checkpoint"
            end = f"killed {1e3 * delay:.0f} ms after batch {batch}" if killed else "through"
            print(
                f"  life {len(lives)} {begun}, tells of batches {life[0, 0]:.0f} to {life[-1, 0]:.0f}, {end}",
                flush=True,
            )
        found = differences(folder, whole, lives)
    draw(whole, lives)
    print("Different: " + ", ".join(found) if found else "The same bits.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
