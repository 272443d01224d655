"""What runs on a worker of a Ray cluster: one object for each attempt, which trains in a process of its own.

Ray copies this class to the machines, so that it needs nothing but Python there to say what is missing.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

OUTPUT_BYTES = 64 << 10
"""How much of what a process said last is given back."""


class RunWorker:
    """Trains one run. Ray calls `wait` and `stop` at the same time, in two threads."""

    process: "subprocess.Popen[bytes] | None" = None
    output: IO[bytes]

    def begin(self, order: dict[str, Any]) -> dict[str, str]:
        """Starts `kennel train` and says where: `machine`, `node` (Ray's number of it), and `problem`, a
        sentence if this machine cannot train.

        `order` has `arguments` of kennel, `files` that must be there, `version` of kennel, `environment`
        (what this machine sets itself is kept), `fixed` (variables that it does not), and `folder`, the
        working directory if it exists here.
        """
        import ray

        about = {"machine": socket.gethostname(), "node": ray.get_runtime_context().get_node_id()}
        problem = self.problem(about["machine"], order)
        if problem:
            return {**about, "problem": problem}
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        environment = {**order["environment"], **os.environ, **order["fixed"]}
        environment["KENNEL_PARENT"] = str(os.getpid())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kennel", *order["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=order["folder"] if Path(order["folder"]).is_dir() else None,
            start_new_session=True,  # Ray ends the group of a worker that it ends: here it would be a kill
        )
        return {**about, "problem": ""}

    @staticmethod
    def problem(machine: str, order: dict[str, Any]) -> str:
        """Why this machine cannot train the run; empty if it can."""
        for file in order["files"]:
            if not Path(file).is_file():
                return (
                    f"the machine {machine} does not see {file}: put the study's folder (--out) and its data "
                    "on a file system that all machines mount at the same path"
                )
        try:
            import kennel
        except ImportError as error:
            return f"the machine {machine} cannot import kennel ({error}): install it there"
        if kennel.__version__ != order["version"]:
            return (
                f"the machine {machine} has kennel {kennel.__version__}, and this one {order['version']}: "
                "install the same version on all"
            )
        return ""

    def wait(self) -> tuple[int, str]:
        """The exit code and the last output of the process, once it has ended."""
        assert self.process is not None
        code = self.process.wait()
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - OUTPUT_BYTES))
        return code, self.output.read().decode(errors="replace")

    def stop(self) -> None:
        """Asks the process for a checkpoint. SIGTERM in any case: Ray blocks SIGINT in its workers, and
        their processes inherit that."""
        if self.process is not None:
            self.process.terminate()
