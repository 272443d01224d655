"""Times the large computations of metrics and compares them with other tools.

    python benchmarks/metrics.py [fid moments mifid manifolds features memory] [--repeats 3] [--out FILE]

All tools get the same random features, run alternately (A B C A B C ...), and are compared by medians. Needs
the development environment: torchmetrics and torch-fidelity (torchvision, which they import but which is not
used here, is mocked if it is missing), SciPy and scikit-learn.

- fid: two statistics of 10,000 x 2,048 features; pytorch-fid and TTUR call SciPy's sqrtm. Then the same with
  1,000 images each, fewer than dimensions.
- mifid: nearest neighbors of 10,000 fakes among 20,580 training images by cosine. torchmetrics uses float64
  features; its function is also called with float32.
- manifolds: precision, recall, density, coverage, k = 3, 10,000 against 10,000; the scikit-learn version uses
  three float64 distance matrices in blocks, as the prdc package does.
- features: images per second of the extractors' networks, compared with the same network as a plain float32
  module (contiguous, norms not folded).
- memory: peak memory of a process that measures FID, MiFID, precision and recall of memory-mapped features.

"Features" are ReLUs of correlated Gaussians (variances falling as 1 / rank), similar to pool features;
"noise" is white, the hardest case for a neighbor search.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt
import torch

from kennel.evaluation.metrics.fid import frechet_distance
from kennel.evaluation.metrics.mifid import nearest_distances
from kennel.evaluation.metrics.prdc import manifolds
from kennel.features.fused_conv import pack_convolutions
from kennel.features.inception_network import InceptionGraph
from kennel.features.mobilenet_network import MobileNetGraph
from kennel.features.moments import moments
from kennel.storage.atomic_io import write_text

Rows = npt.NDArray[np.float32]
Contender = tuple[str, Callable[[], Any]]
DIMENSION = 2048
FAKES, TRAINING = 10_000, 20_580


def features(count: int, seed: int, kind: str = "features", offset: float = 0.0) -> Rows:
    """Returns random rows (count, 2048) of a kind described in the module's docstring."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, DIMENSION), dtype=np.float32)
    if kind == "noise":
        return rows
    scales = (np.arange(1, DIMENSION + 1, dtype=np.float32) ** -0.5) * 12
    mixing = np.linalg.qr(np.random.default_rng(99).standard_normal((DIMENSION, DIMENSION)))[0]
    return np.maximum((rows * scales) @ mixing.astype(np.float32) + 0.1 + offset, 0)


def compare(contenders: list[Contender], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Returns median seconds by name, and the last result of each; they run alternately."""
    seconds: dict[str, list[float]] = {name: [] for name, _ in contenders}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, compute in contenders:
            time.sleep(0.5)  # threads of another library's pool keep spinning for a while
            began = time.perf_counter()
            results[name] = compute()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}, results


def show(
    title: str, seconds: dict[str, float], ours: str, notes: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Prints a Markdown table with ratios to kennel and returns its rows."""
    print(f"\n### {title}\n\n| | seconds | times kennel's | |\n|---|---:|---:|---|")
    rows = []
    for name, value in seconds.items():
        note = (notes or {}).get(name, "")
        print(f"| {name} | {value:.2f} | {value / seconds[ours]:.2f} | {note} |", flush=True)
        rows.append(
            {"of": title, "name": name, "seconds": value, "ratio": value / seconds[ours], "note": note}
        )
    return rows


def mock_torchvision() -> None:
    if find_spec("torchvision") is None:
        for name in ("", ".datasets", ".io", ".models", ".ops", ".transforms", ".transforms.functional"):
            mock = MagicMock()
            mock.__spec__ = ModuleSpec(f"torchvision{name}", None)
            sys.modules[f"torchvision{name}"] = mock


def measure_fid(repeats: int) -> list[dict[str, Any]]:
    import scipy.linalg
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    table = []
    for count in (FAKES, 1000):
        one, other = moments(features(count, 1)), moments(features(count, 2, offset=0.02))
        mean, covariance = torch.from_numpy(one.mean), torch.from_numpy(one.covariance)
        other_mean, other_covariance = torch.from_numpy(other.mean), torch.from_numpy(other.covariance)

        def by_scipy(one: Any = one, other: Any = other) -> float:
            root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
            offset = one.mean - other.mean
            trace = np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.trace(root.real)
            return float(offset @ offset + trace)

        def by_fidelity(one: Any = one, other: Any = other) -> float:
            statistics_of = [{"mu": side.mean, "sigma": side.covariance} for side in (one, other)]
            return float(
                fid_statistics_to_metric(*statistics_of, verbose=False)["frechet_inception_distance"]
            )

        arguments = (mean, covariance, other_mean, other_covariance)
        seconds, results = compare(
            [
                ("kennel", lambda one=one, other=other: frechet_distance(one, other)),  # type: ignore[misc]
                ("SciPy sqrtm (pytorch-fid)", by_scipy),
                ("torchmetrics", lambda given=arguments: float(_compute_fid(*given))),  # type: ignore[misc]
                ("torch-fidelity", by_fidelity),
            ],
            repeats,
        )
        title = f"FID from two statistics of {count:,} x {DIMENSION:,}"
        table += show(title, seconds, "kennel", {name: f"{value:.6f}" for name, value in results.items()})
    return table


def measure_moments(repeats: int) -> list[dict[str, Any]]:
    rows = np.concatenate([features(25_000, seed) for seed in (1, 2)])
    seconds, results = compare(
        [
            ("kennel", lambda: moments(rows).covariance),
            ("np.cov", lambda: np.cov(rows, rowvar=False, dtype=np.float64)),
        ],
        repeats,
    )
    wrong = np.abs(results["kennel"] - results["np.cov"]).max() / np.abs(results["np.cov"]).max()
    return show(
        f"Mean and covariance, 50,000 x {DIMENSION:,}", seconds, "kennel", {"kennel": f"within {wrong:.0e}"}
    )


def measure_mifid(repeats: int) -> list[dict[str, Any]]:
    from torchmetrics.image.mifid import _compute_cosine_distance

    table = []
    product = 2 * FAKES * TRAINING * DIMENSION / 1e9
    for kind in ("features", "noise"):
        fakes, training = features(FAKES, 1, kind), features(TRAINING, 2, kind)
        one, other = torch.from_numpy(fakes), torch.from_numpy(training)
        double, other_double = one.double(), other.double()
        seconds, results = compare(
            [
                ("kennel", lambda f=fakes, t=training: nearest_distances(f, t).mean()),  # type: ignore[misc]
                ("torchmetrics", lambda f=double, t=other_double: _compute_cosine_distance(f, t)),  # type: ignore[misc]
                ("torchmetrics, given float32", lambda f=one, t=other: _compute_cosine_distance(f, t)),  # type: ignore[misc]
                ("bare float32 product", lambda f=one, t=other: _product_in_blocks(f, t)),  # type: ignore[misc]
            ],
            repeats,
        )
        # torchmetrics replaces distances above epsilon by 1; the mean itself is compared here.
        exact = _mean_of_minima(double, other_double)
        notes = {name: f"{product / value:.0f} GFLOP/s" for name, value in seconds.items()}
        notes["kennel"] += f", within {abs(results['kennel'] - exact):.0e} of float64"
        title = f"MiFID's distances, {FAKES:,} against {TRAINING:,}, {kind}"
        table += show(title, seconds, "kennel", notes)
    return table


def _product_in_blocks(one: torch.Tensor, other: torch.Tensor) -> None:
    for block in other.split(4096):
        one @ block.T


def _mean_of_minima(one: torch.Tensor, other: torch.Tensor) -> float:
    left, right = (rows / rows.norm(dim=1, keepdim=True) for rows in (one, other))
    return float(torch.cat([(1 - (block @ right.T).abs()).amin(1) for block in left.split(1024)]).mean())


def measure_manifolds(repeats: int) -> list[dict[str, Any]]:
    from sklearn.metrics import pairwise_distances

    table = []
    product = 3 * 2 * FAKES**2 * DIMENSION / 1e9
    for kind in ("features", "noise"):
        fakes, reals = features(FAKES, 1, kind), features(FAKES, 2, kind)

        def by_scikit_learn(fakes: Rows = fakes, reals: Rows = reals) -> tuple[float, ...]:
            one, other = fakes.astype(np.float64), reals.astype(np.float64)
            reach = [np.partition(pairwise_distances(side), 3, axis=1)[:, 3] for side in (one, other)]
            across = pairwise_distances(one, other)
            inside, around = across <= reach[1], across < reach[1]
            recalled = (across <= reach[0][:, None]).any(0)
            return (
                float(inside.any(1).mean()),
                float(recalled.mean()),
                float(around.sum(1).mean() / 3),
                float(around.any(0).mean()),
            )

        def by_kennel(fakes: Rows = fakes, reals: Rows = reals) -> tuple[float, ...]:
            found = manifolds(fakes, reals, 3, 3)
            return found.precision, found.recall, found.density, found.coverage

        seconds, results = compare([("kennel", by_kennel), ("scikit-learn", by_scikit_learn)], repeats)
        notes = {
            name: ", ".join(f"{value:.6f}" for value in results[name]) + f"; {product / value:.0f} GFLOP/s"
            for name, value in seconds.items()
        }
        title = f"Precision, recall, density, coverage, k = 3, {FAKES:,} against {FAKES:,}, {kind}"
        table += show(title, seconds, "kennel", notes)
    return table


def measure_features(repeats: int) -> list[dict[str, Any]]:
    table = []
    for name, make, side in (("inception", InceptionGraph, 299), ("mobilenet", MobileNetGraph, 224)):
        torch.manual_seed(0)
        plain = make().eval().requires_grad_(False)
        with torch.no_grad():
            for tensor in plain.state_dict().values():
                if tensor.is_floating_point() and tensor.ndim > 1:
                    tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
        images = torch.rand(32, 3, side, side) * 2 - 1
        contenders: list[Contender] = [
            ("plain float32", lambda network=plain, x=images: _in_chunks(network, x))
        ]  # type: ignore[misc]
        for dtype in (torch.float32, torch.bfloat16):
            ready = make().eval().requires_grad_(False)
            ready.load_state_dict(plain.state_dict())
            if isinstance(ready, InceptionGraph):
                ready.fold()
            ready = ready.to(dtype, memory_format=torch.channels_last)
            given = images.to(dtype, memory_format=torch.channels_last)
            pack_convolutions(ready, given[:8])
            label = f"kennel {str(dtype).removeprefix('torch.')}"
            contenders.append((label, lambda network=ready, x=given: _in_chunks(network, x)))  # type: ignore[misc]
        seconds, results = compare(contenders, repeats + 1)
        truth = results["plain float32"]
        notes = {}
        for label, value in seconds.items():
            wrong = float((results[label] - truth).norm() / truth.norm())
            notes[label] = (
                f"{len(images) / value:.1f} images/s, {seconds['plain float32'] / value:.2f} times the "
                f"plain; off by {wrong:.0e}"
            )
        table += show(f"{name}: 32 images", seconds, "kennel float32", notes)
    return table


def _in_chunks(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([network(part)[0].float() for part in images.split(8)])


def measure_memory() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        for name, count, seed in (("fakes", FAKES, 1), ("training", TRAINING, 2)):
            np.save(Path(folder) / f"{name}.npy", features(count, seed))
        answer = subprocess.run(
            [sys.executable, __file__, "--child", folder], capture_output=True, text=True, check=True
        )
    before, after, seconds = map(float, answer.stdout.split())
    print(
        f"\n### Memory\n\nFID, MiFID, precision and recall of {FAKES:,} against {TRAINING:,} x "
        f"{DIMENSION:,} from memory-mapped files: peak {after:.2f} GB, of which {before:.2f} GB before the "
        f"work began; {seconds:.1f} s."
    )
    return [
        {
            "of": "memory",
            "name": "peak GB",
            "seconds": seconds,
            "ratio": after,
            "note": f"{before:.2f} before",
        }
    ]


def child(folder: Path) -> None:
    """Runs the computation whose memory is measured; prints GB before, the peak in GB, and seconds."""
    fakes, training = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("fakes", "training"))
    before = peak()
    began = time.perf_counter()
    frechet_distance(moments(fakes), moments(training))
    nearest_distances(fakes, training)
    manifolds(fakes, training[: len(fakes)])
    print(before, peak(), time.perf_counter() - began)


def peak() -> float:
    """Returns the peak memory of this process in GB (`ru_maxrss` would include the parent's)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


MEASURES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "fid": measure_fid,
    "moments": measure_moments,
    "mifid": measure_mifid,
    "manifolds": measure_manifolds,
    "features": measure_features,
    "memory": lambda repeats: measure_memory(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("which", nargs="*", choices=[*MEASURES, []], default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    mock_torchvision()
    threads = torch.get_num_threads()
    print(
        f"torch {torch.__version__}, {threads} threads of {os.cpu_count()}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    table = [row for name in given.which or MEASURES for row in MEASURES[name](given.repeats)]
    if given.out:
        write_text(given.out, json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
