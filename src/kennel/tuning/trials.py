"""The trials of a search in Optuna's storage: opening, asking, finishing, and taking up interrupted ones.

A trial that is interrupted is marked failed, and one with the same values is enqueued, which continues its
run. The reason of every failure is kept.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from kennel.errors import TuningError
from kennel.storage.lock import NAME, is_locked, locked
from kennel.tuning.dimension import Dimension, Value
from kennel.tuning.plan import TunePlan

MAX_KILLS = 3
"""A trial in which the process was killed this many times is not tried again."""
LOST_AFTER = 24 * 3600.0
"""Seconds without a validation after which a trial of another machine counts as interrupted."""
OWN, WORKER, ALIVE, REASON = "own", "worker", "alive", "reason"
INTERRUPTED, CONTINUES, KILLS, MEASURED = "interrupted", "continues", "kills", "measured"
"""Names of user attributes of a trial. `OWN` marks the one with the recipe's own values."""


def open_study(plan: TunePlan, storage: str | None, prune: bool, *, create: bool = True) -> optuna.Study:
    """Creates the search in the storage or continues it; `storage` None is `trials.db` in its folder.

    Raises `TuningError` if the storage cannot be used, holds another search or, without `create`, none.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_local = storage is None
    if storage is None:
        file = plan.out / "trials.db"
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        elif not file.is_file():
            raise TuningError(f"{plan.out} has no search (there is no {file.name})")
        storage = f"sqlite:///{file}"
    with _explained(storage), _alone(plan) if is_local and create else nullcontext():
        study = optuna.create_study(
            storage=_database(storage),
            study_name=plan.out.resolve().name,
            direction=plan.direction,
            pruner=_pruner() if prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        about = study.user_attrs.get("search")
        if about is None:
            study.set_user_attr("search", plan.about())
        else:
            plan.refuse_other(about)
    return study


def _database(storage: str) -> optuna.storages.RDBStorage:
    """Opens the database, and makes its tables if it is new.

    Several processes wait for one another's writes to a SQLite file. If another machine makes the tables at
    the same moment, the second attempt finds them.
    """
    engine = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(storage, engine_kwargs=engine)
    except DatabaseError:
        time.sleep(1.0)
        return optuna.storages.RDBStorage(storage, engine_kwargs=engine)


def _alone(plan: TunePlan) -> Any:
    """Only one process of this folder makes the database, or asks for a trial, at a time."""
    plan.out.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(plan.out / ".ask.lock", timeout=60, fallback_to_soft=False).acquire()
    except OSError:  # a file system without locks: `working` warns
        return nullcontext()


def _pruner() -> optuna.pruners.BasePruner:
    """Stops a trial whose best score so far is worse than the median of finished trials at that validation.

    From the second validation on, and once four trials are finished.
    """
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)


@contextmanager
def _explained(storage: str) -> Iterator[None]:
    """Turns errors of the database into sentences, without a password that the URL may hold."""
    scheme = storage.partition(":")[0]
    try:
        yield
    except ArgumentError:
        raise TuningError(
            "--storage is not a database URL: write sqlite:///FILE, mysql+pymysql://USER:PASSWORD@HOST/NAME "
            "or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
        ) from None
    except (ImportError, SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise TuningError(f"the {scheme} database of the search cannot be used ({reason})") from None


@dataclass
class Trials:
    """The trials of one study, as one worker process sees them."""

    study: optuna.Study
    plan: TunePlan
    count: int
    """How many trials the search shall have."""
    is_local: bool = False
    """Whether all workers share this folder, because the storage lies in it."""
    worker: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @contextmanager
    def working(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Holds this worker's lock, by which the others know that it is alive."""
        folder = self.plan.out / "workers" / self.worker
        with locked(folder, "used", warn, "worker"):
            yield
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()

    def ask(self) -> optuna.Trial | None:
        """The next trial, with this worker's name; None if there are as many as wanted.

        It takes up interrupted trials first. The sampler is seeded by the number of trials, interrupted ones
        left out: a restart goes on as if there had been none, and a second worker draws other values.
        """
        with _alone(self.plan):
            self._take_up_interrupted()
            found = self.study.get_trials(deepcopy=False)
            if not found:
                self._enqueue_own()
            begun = sum(map(_counts, found))
            if begun >= self.count:
                return None
            seed = (self.plan.seed * 1_000_003 + begun) % 2**32
            startup = min(10, max(4, self.count // 3))
            self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
            trial = self.study.ask()
            trial.set_user_attr(WORKER, self.worker)
            return trial

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Records a failed trial with its reason."""
        trial.set_user_attr(REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def interrupt(self, trial: optuna.Trial) -> None:
        """Records that this process stops the trial, which another will continue, unless it has ended."""
        if self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
            return
        trial.set_user_attr(REASON, "interrupted")
        trial.set_user_attr(INTERRUPTED, True)
        self.study.tell(trial, state=TrialState.FAIL)
        with _alone(self.plan):
            self._enqueue_continuations()

    def _enqueue_own(self) -> None:
        """The first trial has the recipe's own values: the others are compared with it."""
        values = self.plan.space.own if self.plan.space.contains_own else {}
        self.study.enqueue_trial(values, user_attrs={OWN: True})

    def _take_up_interrupted(self) -> None:
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if one.user_attrs.get(WORKER) != self.worker and self._is_abandoned(one):
                self._fail_abandoned(one)
        self._enqueue_continuations()

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER)
        folder = self.plan.out / "workers" / str(worker)
        if worker is not None and (folder / NAME).exists():
            return not is_locked(folder)
        # One without a worker was killed while it asked: others of this folder wait for it to get its name.
        begun = 0.0 if trial.datetime_start is None else trial.datetime_start.timestamp()
        return self.is_local or time.time() - float(trial.user_attrs.get(ALIVE, begun)) > LOST_AFTER

    def _fail_abandoned(self, trial: FrozenTrial) -> None:
        kills = int(trial.user_attrs.get(KILLS, 0)) + 1
        storage, number = self.study._storage, trial._trial_id
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker was faster
            if kills >= MAX_KILLS:
                storage.set_trial_user_attr(number, REASON, f"the process was killed {kills} times")
            else:
                storage.set_trial_user_attr(number, REASON, "the process was killed")
                storage.set_trial_user_attr(number, INTERRUPTED, True)
            storage.set_trial_user_attr(number, KILLS, kills)
            storage.set_trial_state_values(number, TrialState.FAIL)
            shutil.rmtree(self.plan.out / "workers" / str(trial.user_attrs.get(WORKER)), ignore_errors=True)

    def _enqueue_continuations(self) -> None:
        """Enqueues a trial for each interrupted one that none continues yet."""
        found = self.study.get_trials(deepcopy=False)
        continued = {one.user_attrs.get(CONTINUES) for one in found}
        for one in found:
            if (
                one.user_attrs.get(INTERRUPTED)
                and one.state == TrialState.FAIL
                and one.number not in continued
            ):
                kept = {key: one.user_attrs[key] for key in (OWN, KILLS) if key in one.user_attrs}
                self.study.enqueue_trial(_given(one), user_attrs={**kept, CONTINUES: one.number})


def _given(trial: FrozenTrial) -> dict[str, Any]:
    """The values of a trial; of one that was killed before it had them, those that it was enqueued with."""
    return trial.params or dict(trial.system_attrs.get("fixed_params", {}))


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those wanted: not a part that another continues, nor one that waits."""
    return trial.state != TrialState.WAITING and not trial.user_attrs.get(INTERRUPTED)


def suggest(trial: optuna.Trial, dimension: Dimension) -> Value:
    """The trial's value of a dimension."""
    if dimension.choices:
        return cast(Value, trial.suggest_categorical(dimension.key, dimension.choices))
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        return trial.suggest_int(dimension.key, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(dimension.key, float(dimension.low), float(dimension.high), log=dimension.log)
