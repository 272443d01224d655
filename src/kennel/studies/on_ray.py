"""The runs of a study as workers of a Ray cluster (https://docs.ray.io), each with its own CPUs and GPU."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import kennel
from kennel.errors import ClusterError
from kennel.studies import ray_worker
from kennel.studies.launch import Outcome, last_words, train_command
from kennel.studies.matrix import StudyRun
from kennel.training.signals import PARENT

QUEUED = 8
"""Attempts that Ray may hold in its queue: enough to fill a cluster, few enough to keep the order of runs."""
OBJECT_STORE_BYTES = 80 << 20
"""Of a Ray that is started here: only sentences go through it."""
VISIBLE_SECONDS = 60.0
"""How long a network file system may take to show here what another machine has written."""
SOCKET_PATH = 40
"""Longest folder in which Ray's sockets have a path that the system allows (107 bytes)."""
ENDED_FROM_OUTSIDE = (128 + 1, 128 + 2, 128 + 15)
"""Exit codes of `kennel train` after SIGHUP, SIGINT and SIGTERM, as when a machine shuts down."""


@contextmanager
def connected(address: str | None) -> Iterator[ModuleType]:
    """Yields Ray, connected to the cluster at `address` ("auto" or "HOST:PORT"); None: the one of
    `RAY_ADDRESS`, else a Ray of this machine alone, which ends with the block.

    Raises `ClusterError`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning about later versions
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 otherwise, of a Ray that is started here
    try:
        import ray
    except ImportError:
        raise ClusterError('--on ray needs Ray: pip install "kennel[ray]"') from None
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise ClusterError(
            f"the address {address} is one of Ray Client, which is not supported: run the command on a "
            "machine of the cluster, with --address auto"
        )
    folder = None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    if address == "local":
        base = tempfile.gettempdir() if len(tempfile.gettempdir()) <= SOCKET_PATH else "/tmp"
        folder = tempfile.mkdtemp(prefix="kennel-ray-", dir=base)
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        options |= {"_temp_dir": folder}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, **options)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
            if folder:
                raise ClusterError(f"Ray could not start ({_first_sentence(error)})") from None
            raise ClusterError(
                f"Ray could not connect to {address} ({_first_sentence(error)}): run the command on a "
                "machine where `ray start` has been run, or give no --address for a Ray of this machine"
            ) from None
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)  # Ray's own would exit in the middle of things
        _be_quiet()
        yield ray
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:300]


def _be_quiet() -> None:
    """Ray prints the log of a worker that dies, which no option prevents; the runner says it in a line."""
    with suppress(ImportError, AttributeError):
        from ray._private import worker

        assert worker.print_to_stdstream
        worker.print_to_stdstream = lambda *given, **named: None


def device_on(ray: Any, device: str) -> str:
    """The device of every run: "cuda" or "cpu". "auto" is CUDA where the cluster has GPUs."""
    if device == "auto":
        return "cuda" if ray.cluster_resources().get("GPU", 0) >= 1 else "cpu"
    if device not in ("cpu", "cuda"):
        raise ClusterError(
            f"the device {device} cannot be had on Ray, which deals them out: give cpu or cuda"
        )
    return device


def default_threads() -> int:
    """`OMP_NUM_THREADS`, else 1: the same on every machine, since results depend on it in the last bits."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else 1


@dataclass
class RayAttempt:
    """An actor of Ray that trains a run, or waits for its resources."""

    launcher: "RayLauncher"
    run: StudyRun
    actor: Any
    beginning: Any
    device: str
    begun: bool = False
    machine: str = ""
    outcome: Outcome | None = None
    _ending: Any = None
    _ended_at: float | None = None

    def poll(self) -> Outcome | None:
        """See `Attempt`."""
        if self.outcome is not None:
            return self.outcome
        ray = self.launcher.ray
        try:
            outcome = self._look(ray)
        except ray.exceptions.RayTaskError as error:  # an error in RunWorker itself
            outcome = Outcome(_first_sentence(error.cause if error.cause is not None else error))
        except ray.exceptions.RayError as error:
            outcome = Outcome(f"{self.machine or 'a worker'}: {type(error).__name__}", lost=True)
        if outcome is not None:
            self._end(outcome)
        return outcome

    def _look(self, ray: Any) -> Outcome | None:
        if not self.begun:
            if not _is_there(ray, self.beginning):
                return None
            about = ray.get(self.beginning)
            if about["problem"]:
                return self.launcher.refused_by(about["node"], about["problem"])
            self.begun, self.machine = True, about["machine"]
            self._ending = self.actor.wait.remote()
        if not _is_there(ray, self._ending):
            return None
        code, said = ray.get(self._ending)
        if code == 0:
            return self._seen_here()
        return Outcome(last_words(said, code), lost=code < 0 or code in ENDED_FROM_OUTSIDE)

    def _seen_here(self) -> Outcome | None:
        """The outcome of a process that has finished; None as long as its files are not here yet."""
        progress = self.run.progress()
        if progress is not None and progress.finished:
            return Outcome()
        self._ended_at = self._ended_at or time.monotonic()
        if time.monotonic() - self._ended_at < VISIBLE_SECONDS:
            return None
        return Outcome(
            f"{self.machine} finished it, but {self.run.path} is not the same folder here and there"
        )

    def stop(self, number: int) -> None:
        """See `Attempt`. Every signal becomes SIGTERM."""
        if self.begun:
            self.actor.stop.remote()
        else:
            self._end(Outcome("stopped"))

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        with suppress(self.launcher.ray.exceptions.RayError):
            self.launcher.ray.kill(self.actor)  # gives back its resources; an unreachable one ends as well


def _is_there(ray: Any, reference: Any) -> bool:
    return bool(ray.wait([reference], timeout=0)[0])


@dataclass
class RayLauncher:
    """Attempts as actors of Ray that ask for `threads` CPUs, and for a GPU where `device` is "cuda".

    `jobs` bounds how many there are at a time; None: as many as the cluster has room for. `say(sentence)`
    gets why a machine is given no more runs.
    """

    ray: Any
    device: str
    threads: int = 1
    jobs: int | None = None
    imports: Sequence[str] = ()
    say: Callable[[str], None] = lambda sentence: None
    unfit: dict[str, str] = field(default_factory=dict)
    _attempts: list[RayAttempt] = field(default_factory=list)
    _kind: Any = None

    def __post_init__(self) -> None:
        self.ray.cloudpickle.register_pickle_by_value(ray_worker)
        self._kind = self.ray.remote(ray_worker.RunWorker)

    def capacity(self) -> int:
        """How many runs the machines of the cluster that can train have room for at a time."""
        found = 0
        for node in self.ray.nodes():
            if node["Alive"] and node["NodeID"] not in self.unfit:
                places = int(node["Resources"].get("CPU", 0) // self.threads)
                gpus = int(node["Resources"].get("GPU", 0))
                found += min(places, gpus) if self.device == "cuda" else places
        return found if self.jobs is None else min(found, self.jobs)

    def has_room(self) -> bool:
        """See `Launcher`. More than the cluster has room for are queued: it may grow."""
        self._attempts = [one for one in self._attempts if one.outcome is None]
        queued = sum(not one.begun for one in self._attempts)
        return queued < QUEUED and (self.jobs is None or len(self._attempts) < self.jobs)

    def start(self, run: StudyRun) -> RayAttempt:
        """See `Launcher`."""
        options: dict[str, Any] = {"num_cpus": self.threads, "num_gpus": int(self.device == "cuda")}
        options |= {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 3}
        if self.unfit:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self.unfit)})"}
        actor = self._kind.options(**options).remote()
        attempt = RayAttempt(self, run, actor, actor.begin.remote(self._order(run)), self.device)
        self._attempts.append(attempt)
        if self.unfit and not self.capacity():
            attempt._end(Outcome(next(iter(self.unfit.values()))))
        return attempt

    def refused_by(self, node: str, problem: str) -> Outcome:
        """The outcome of an attempt on a machine that cannot train; no more runs are given to it."""
        if node not in self.unfit:
            self.unfit[node] = problem
            self.say(f"No runs are given to one machine: {problem}.")
        return Outcome(problem, lost=self.capacity() > 0)

    def _order(self, run: StudyRun) -> dict[str, Any]:
        """What `RunWorker.begin` takes."""
        own = {name: value for name, value in os.environ.items() if name.startswith("KENNEL_")}
        own.pop(PARENT, None)
        return {
            "arguments": train_command(run, self.device, self.imports),
            "files": [
                str(run.recipe_file.absolute()),
                str((run.set_path / "dataset.json").absolute()),
            ],
            "version": kennel.__version__,
            "environment": own,
            "fixed": {"OMP_NUM_THREADS": str(self.threads)},
            "folder": str(Path.cwd()),
        }
