"""The private parts of Optuna that this project uses, with its storages in memory, in a database and in a journal."""

import sqlite3
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tiny_imagenet.sweep.optuna_internals import BEAT, enqueued_point, record_heartbeat, requeue, trial_id, void

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep") / "sweep.db"


@pytest.fixture(scope="module")
def in_file(database) -> RDBStorage:
    """One storage for all studies of this file, since to make its tables takes half a second."""
    with warnings.catch_warnings(action="ignore"):
        return RDBStorage(f"sqlite:///{database}", heartbeat_interval=60, grace_period=300)


@pytest.fixture
def journal(tmp_path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))


@pytest.fixture(params=["memory", "in_file", "journal"])
def storage(request):
    return InMemoryStorage() if request.param == "memory" else request.getfixturevalue(request.param)


@pytest.fixture
def study(storage) -> optuna.Study:
    return study_in(storage)


def study_in(storage) -> optuna.Study:
    """A study whose trials' keys are not their numbers, since another one lies in the same storage."""
    optuna.create_study(storage=storage).ask()
    return optuna.create_study(storage=storage)


def test_a_trial_s_key_finds_it_in_its_storage(study, storage):
    for _ in range(2):
        trial = study.ask()
        assert hasattr(trial, "_trial_id"), "optuna.Trial has no _trial_id any more"
        trial.suggest_float("x", 0, 1)
        found = storage.get_trial(trial_id(trial))
        assert (found.number, found.params) == (trial.number, trial.params)
    frozen = study.get_trials()
    assert hasattr(frozen[0], "_trial_id"), "FrozenTrial has no _trial_id any more"
    assert [storage.get_trial(trial_id(each)).number for each in frozen] == [0, 1]
    assert [trial_id(each) for each in frozen] != [0, 1], "or its number would do"


@pytest.mark.parametrize("shared", ["in_file", "journal"])
def test_a_running_trial_waits_again_and_is_asked_for_next_under_its_number(request, shared):
    storage = request.getfixturevalue(shared)
    study = study_in(storage)  # Optuna's storage in memory never looks again at trials that it has handed out.
    first, second = study.ask(), study.ask()
    requeue(storage, first)
    assert [trial.state for trial in study.get_trials()] == [TrialState.WAITING, TrialState.RUNNING]
    assert study.ask().number == first.number
    requeue(storage, study.get_trials()[second.number])
    assert study.ask().number == second.number
    assert study.ask().number == 2


def test_a_trial_that_waits_again_keeps_its_point_and_what_was_noted_of_it(study, storage):
    study.enqueue_trial({"x": 0.25})
    trial = study.ask()
    trial.set_user_attr("place", "here")
    assert trial.suggest_float("x", 0, 1) == 0.25
    requeue(storage, trial)
    again = study.ask()
    assert again.user_attrs == {"place": "here"}
    assert again.suggest_float("x", 0, 1) == 0.25


def test_a_finished_trial_does_not_wait_again(study, storage):
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(RuntimeError):
        requeue(storage, trial)
    assert study.get_trials()[0].state == TrialState.COMPLETE


def test_the_point_of_a_trial_that_was_enqueued(study):
    study.enqueue_trial({"model.width": 0.5, "data.batch_size": 64})
    study.enqueue_trial({})
    waiting, empty = study.get_trials()
    assert enqueued_point(waiting) == {"model.width": 0.5, "data.batch_size": 64}, "Optuna has renamed fixed_params"
    assert enqueued_point(empty) == {}
    study.ask()
    assert enqueued_point(study.get_trials()[0]) == {"model.width": 0.5, "data.batch_size": 64}, "while it runs too"


def test_a_trial_that_was_not_enqueued_has_no_point(study):
    study.ask().suggest_float("x", 0, 1)
    assert enqueued_point(study.get_trials()[0]) is None


def test_a_heartbeat_shows_that_a_worker_lives(in_file, database):
    study = study_in(in_file)
    alive, dead = study.ask(), study.ask()
    for trial in (alive, dead):
        record_heartbeat(in_file, trial)
    with sqlite3.connect(database) as tables:
        changed = tables.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-301 seconds')").rowcount
    assert changed == 2, "each trial has one"
    record_heartbeat(in_file, alive)
    fail_stale_trials(study)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING, TrialState.FAIL]


def test_a_storage_in_memory_needs_no_heartbeat():
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    record_heartbeat(storage, study.ask())
    fail_stale_trials(study)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]


def test_a_journal_s_heartbeat_is_an_attribute_that_changes(journal):
    study = study_in(journal)
    trial, beats = study.ask(), []
    for _ in range(2):
        record_heartbeat(journal, trial)
        beats.append(study.get_trials()[0].user_attrs[BEAT])
    assert beats[0] < beats[1]


def test_a_trial_whose_worker_died_ends_and_is_enqueued_again_once(journal, tmp_path):
    study = study_in(journal)
    study.enqueue_trial({"x": 0.25})
    study.ask().suggest_float("x", 0, 1)
    other = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    found = study.get_trials()[0]
    void(journal, study, found)
    void(other, optuna.load_study(storage=other, study_name=study.study_name), found)
    assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]
    assert study.ask().suggest_float("x", 0, 1) == 0.25
