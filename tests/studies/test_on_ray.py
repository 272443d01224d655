"""Runs as workers of a Ray cluster. The launcher is tested with a pretended Ray, and once with a real one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import kennel
from kennel.errors import ClusterError
from kennel.runs.run_dir import RunDir
from kennel.studies import on_ray, ray_worker
from kennel.studies.config import StudyConfig
from kennel.studies.launch import Attempt, Launcher
from kennel.studies.matrix import matrix, write_recipes
from kennel.studies.on_ray import RayLauncher, connected, default_threads, device_on


class PretendedError(Exception):
    """As `ray.exceptions.RayError`."""


class PretendedTaskError(PretendedError):
    """As `ray.exceptions.RayTaskError`."""

    cause = OSError("no space")


class PretendedRay:
    """The part of Ray that the launcher uses: calls of actors give slots, which a test fills."""

    exceptions = SimpleNamespace(RayError=PretendedError, RayTaskError=PretendedTaskError)

    def __init__(self, *nodes):
        self.machines = [
            {"NodeID": name, "Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}
            for name, cpus, gpus in nodes
        ]
        self.actors, self.killed = [], []
        self.cloudpickle = SimpleNamespace(register_pickle_by_value=lambda module: None)

    def nodes(self):
        return self.machines

    def cluster_resources(self):
        return {"GPU": sum(node["Resources"]["GPU"] for node in self.machines)}

    def remote(self, kind):
        def options(**asked):
            def make():
                self.actors.append(PretendedActor(asked))
                return self.actors[-1]

            return SimpleNamespace(remote=make)

        return SimpleNamespace(options=options)

    def wait(self, references, timeout):
        return [one for one in references if "value" in one], []

    def get(self, reference):
        if isinstance(reference["value"], Exception):
            raise reference["value"]
        return reference["value"]

    def kill(self, actor):
        self.killed.append(actor)


class PretendedActor:
    """Its methods note their calls; `begun` and `ended` are what they answer."""

    def __init__(self, asked):
        self.asked, self.begun, self.ended, self.order, self.stops = asked, {}, {}, None, 0
        self.begin = SimpleNamespace(remote=self._begin)
        self.wait = SimpleNamespace(remote=lambda: self.ended)
        self.stop = SimpleNamespace(remote=self._stop)

    def _begin(self, order):
        self.order = order
        return self.begun

    def _stop(self):
        self.stops += 1

    def begins(self, node="n1", problem=""):
        self.begun["value"] = {"machine": f"host-{node}", "node": node, "problem": problem}


@pytest.fixture
def runs(packed_set, tmp_path):
    """Twelve runs whose recipes are written."""
    study = StudyConfig(
        name="s", recipes={"a": {"recipe": "digits"}}, seeds=12, data={"x": str(packed_set(size=16))}
    )
    found = matrix(study, tmp_path / "out")
    write_recipes(found)
    return found


def _began(run, images=0):
    run.path.mkdir(parents=True)
    run.folder.recipe_file.write_text(run.recipe.to_yaml())
    about = {"data": {"path": str(run.set_path), "fingerprint": "0", "count": 40}}
    run.folder.about_file.write_text(json.dumps(about))
    run.folder.log_file.write_text(json.dumps({"images": images}) + "\n")


def test_a_run_asks_for_its_threads_and_on_cuda_for_a_gpu(runs):
    ray = PretendedRay(("n1", 8, 1))
    launcher = RayLauncher(ray, "cuda", threads=3)
    assert isinstance(launcher, Launcher)
    assert isinstance(launcher.start(runs[0]), Attempt)
    asked = ray.actors[0].asked
    assert (asked["num_cpus"], asked["num_gpus"], asked["max_restarts"]) == (3, 1, 0)
    order = ray.actors[0].order
    assert order["arguments"][-1] == "cuda"
    assert order["fixed"] == {"OMP_NUM_THREADS": "3"}
    RayLauncher(ray, "cpu").start(runs[1])
    assert ray.actors[1].asked["num_gpus"] == 0


def test_the_capacity_counts_cores_gpus_and_jobs(runs):
    ray = PretendedRay(("n1", 8, 1), ("n2", 5, 0))
    assert RayLauncher(ray, "cpu", threads=2).capacity() == 6
    assert RayLauncher(ray, "cpu", threads=2, jobs=4).capacity() == 4
    assert RayLauncher(ray, "cuda", threads=2).capacity() == 1
    ray.machines[1]["Alive"] = False
    assert RayLauncher(ray, "cpu", threads=2).capacity() == 4


def test_a_few_runs_are_queued_and_jobs_bounds_all(runs):
    ray = PretendedRay(("n1", 2, 0))
    launcher = RayLauncher(ray, "cpu")
    attempts = []
    while launcher.has_room():
        attempts.append(launcher.start(runs[len(attempts)]))
    assert len(attempts) == on_ray.QUEUED
    ray.actors[0].begins()
    attempts[0].poll()
    assert launcher.has_room()
    bounded = RayLauncher(ray, "cpu", jobs=1)
    bounded.start(runs[0])
    assert not bounded.has_room()


def test_an_attempt_begins_and_finishes_and_gives_its_place_back(runs):
    ray = PretendedRay(("n1", 1, 0))
    attempt = RayLauncher(ray, "cpu").start(runs[0])
    assert attempt.poll() is None
    assert not attempt.begun
    ray.actors[0].begins()
    assert attempt.poll() is None
    assert (attempt.begun, attempt.machine) == (True, "host-n1")
    _began(runs[0], images=10**9)
    ray.actors[0].ended["value"] = (0, "done")
    assert attempt.poll().error == ""
    assert ray.killed == ray.actors


@pytest.mark.parametrize(
    ("ended", "error", "lost"),
    [
        ((2, "Error: no such loss\n"), "no such loss", False),
        ((143, "Stopped.\n"), "Stopped.", True),
        ((-9, ""), "it was ended by signal 9", True),
        (PretendedError("died"), "host-n1: PretendedError", True),
        (PretendedTaskError(), "no space", False),
    ],
)
def test_only_what_the_run_did_not_do_itself_counts_as_a_lost_worker(runs, ended, error, lost):
    ray = PretendedRay(("n1", 1, 0))
    attempt = RayLauncher(ray, "cpu").start(runs[0])
    ray.actors[0].begins()
    attempt.poll()
    ray.actors[0].ended["value"] = ended
    outcome = attempt.poll()
    assert (outcome.error, outcome.lost) == (error, lost)
    assert attempt.poll() is outcome


def test_a_finished_run_is_waited_for_until_its_files_are_seen_here(runs, monkeypatch):
    ray = PretendedRay(("n1", 1, 0))
    attempt = RayLauncher(ray, "cpu").start(runs[0])
    ray.actors[0].begins()
    attempt.poll()
    ray.actors[0].ended["value"] = (0, "")
    assert attempt.poll() is None
    monkeypatch.setattr(on_ray, "VISIBLE_SECONDS", -1.0)
    assert "is not the same folder here and there" in attempt.poll().error


def test_stopping_ends_what_is_queued_and_asks_what_trains(runs):
    ray = PretendedRay(("n1", 1, 0))
    launcher = RayLauncher(ray, "cpu")
    training, queued = launcher.start(runs[0]), launcher.start(runs[1])
    ray.actors[0].begins()
    training.poll()
    for attempt in (training, queued):
        attempt.stop(signal.SIGINT)
    assert (ray.actors[0].stops, ray.actors[1].stops) == (1, 0)
    assert ray.killed == [ray.actors[1]]
    assert queued.poll().error == "stopped"
    assert training.poll() is None


def test_a_machine_that_cannot_train_gets_no_more_runs_and_the_last_one_ends_the_study(runs):
    ray, said = PretendedRay(("n1", 1, 0), ("n2", 1, 0)), []
    launcher = RayLauncher(ray, "cpu", say=said.append)
    first = launcher.start(runs[0])
    ray.actors[0].begins(problem="the machine host-n1 does not see /data")
    assert first.poll().lost
    assert said == ["No runs are given to one machine: the machine host-n1 does not see /data."]
    second = launcher.start(runs[0])
    assert ray.actors[1].asked["label_selector"] == {"ray.io/node-id": "!in(n1)"}
    ray.actors[1].begins("n2", "the machine host-n2 does not see /data")
    assert not second.poll().lost
    assert "does not see /data" in launcher.start(runs[1]).poll().error


def _order(run, **changed):
    ray = PretendedRay(("n1", 1, 0))
    RayLauncher(ray, "cpu").start(run)
    return ray.actors[0].order | changed


def test_a_worker_says_what_is_missing_on_its_machine(runs):
    assert ray_worker.RunWorker.problem("m", _order(runs[0])) == ""
    other = ray_worker.RunWorker.problem("m", _order(runs[0], version="0.0"))
    assert other.startswith(f"the machine m has kennel {kennel.__version__}, and this one 0.0")
    runs[0].recipe_file.unlink()
    assert f"the machine m does not see {runs[0].recipe_file}" in ray_worker.RunWorker.problem(
        "m", _order(runs[0])
    )


def test_variables_of_kennel_go_along_without_the_parent(runs, monkeypatch):
    monkeypatch.setenv("KENNEL_WEIGHTS", "/w")
    monkeypatch.setenv("KENNEL_PARENT", "7")
    environment = _order(runs[0])["environment"]
    assert environment["KENNEL_WEIGHTS"] == "/w"
    assert "KENNEL_PARENT" not in environment


def test_the_device_is_what_the_cluster_has(monkeypatch):
    assert device_on(PretendedRay(("n1", 8, 1)), "auto") == "cuda"
    assert device_on(PretendedRay(("n1", 8, 0)), "auto") == "cpu"
    with pytest.raises(ClusterError, match="give cpu or cuda"):
        device_on(PretendedRay(("n1", 8, 1)), "cuda:1")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert default_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert default_threads() == 1


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'pip install "kennel\[ray\]"'), connected(None):
        pass


def test_ray_is_not_imported_by_the_study_command():
    code = "import kennel.cli.study, kennel.studies.on_ray, sys; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


CLUSTER = """
import json, os, sys
from ray.cluster_utils import Cluster

memory = {"object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
nodes = [cluster.add_node(num_cpus=1, **memory) for _ in range(2)]
raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
print(json.dumps([cluster.address, raylets]), flush=True)
lost = int(sys.stdin.readline())
cluster.remove_node(nodes[raylets.index(lost)], allow_graceful=False)
print("removed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""
STUDY = """
recipes:
  small: digits
  wide: {recipe: digits, settings: [batch_size=16]}
seeds: 2
images: 640
settings:
  - image.size=8
  - generator.base_channels=4
  - discriminator.base_channels=4
  - batch_size=8
  - num_ticks=8
  - validation.extractor=pixels
  - validation.num_samples=16
  - compute.precision=float32
judge: {extractor: pixels, metrics: [fid, recall], count: 30}
"""


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _held_in_mid_run(out, study):
    """The process of a run that has a checkpoint and is not finished, held by SIGSTOP."""
    while study.poll() is None:
        for holder in out.glob("runs/*/*/*/.lock.json"):
            if any((holder.parent / "checkpoints").glob("*.safetensors")):
                try:
                    pid = json.loads(holder.read_text())["pid"]
                    os.kill(pid, signal.SIGSTOP)
                except (OSError, ValueError):  # it has just ended
                    continue
                if RunDir(holder.parent).log()[-1]["images"] < 480:
                    return holder.parent, pid
                os.kill(pid, signal.SIGCONT)  # it is nearly finished: another one
        time.sleep(0.005)
    raise AssertionError(study.communicate())


def _scores(out):
    """Every value of the results, and every tensor of the newest checkpoint of every run."""
    from safetensors.numpy import load_file

    content = json.loads((out / "results.json").read_text())["data"]["noise"]["comparison"]["scores"][0]
    values = {
        label: {one["metric"]: (one["value"], one["interval"]) for one in found}
        for label, found in content["scores"].items()
    }
    tensors = {}
    for run in sorted(out.glob("runs/*/*/*")):
        newest = max((run / "checkpoints").glob("[0-9]*.safetensors"))
        for name, tensor in load_file(newest).items():
            tensors[str(run.relative_to(out)), newest.name, name] = (str(tensor.dtype), tensor.tobytes())
    return values, tensors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes of a node in /proc")
def test_a_study_that_loses_a_machine_equals_an_undisturbed_one_on_this_machine(packed_set, tmp_path):
    pytest.importorskip("ray")
    file, data = tmp_path / "tiny.yaml", packed_set()
    file.write_text(STUDY)
    environment = {**os.environ, "KENNEL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", "kennel", "study", str(file), "--data", f"noise={data}"]
    command += ["--device", "cpu", "--out"]
    pipes = {"text": True, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    local = subprocess.run([*command, str(tmp_path / "local")], check=False, **pipes)
    assert local.returncode == 0, local.stdout
    out = tmp_path / "ray"
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        **(pipes | {"stderr": subprocess.DEVNULL}),
        stdin=subprocess.PIPE,
    )
    try:
        lines = (line for line in cluster.stdout if line.startswith(("[", "removed")))
        address, raylets = json.loads(next(lines))
        study = subprocess.Popen([*command, str(out), "--on", "ray", "--address", address], **pipes)
        run, pid = _held_in_mid_run(out, study)
        assert _parent(_parent(pid)) in raylets
        print(_parent(_parent(pid)), file=cluster.stdin, flush=True)
        assert next(lines).strip() == "removed"
        os.kill(pid, signal.SIGCONT)
        said, _ = study.communicate(timeout=600)
    finally:
        cluster.stdin.close()
        cluster.stdout.close()
        cluster.wait(timeout=60)
    assert study.returncode == 0, said
    label = "/".join(run.parts[-3:])
    assert f"{label} lost its worker (" in said
    assert f"{label}: lost its worker, resumed on " in said
    assert f"{label}: finished" in said
    assert "raylet" not in said
    assert _scores(out) == _scores(tmp_path / "local")
