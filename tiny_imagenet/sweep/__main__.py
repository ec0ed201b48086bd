"""The command line of sweeps: python -m tiny_imagenet.sweep batch_size.yaml [any option of training.py fit]"""

import sys
from typing import NoReturn

import optuna

from tiny_imagenet.errors import UserError, legible_lines, user_message
from tiny_imagenet.progress import say
from tiny_imagenet.run.folder import METRICS
from tiny_imagenet.sweep.claim import Claim
from tiny_imagenet.sweep.definition import Sweep, read_sweep
from tiny_imagenet.sweep.results import start_line, summary, trial_line, trial_start_line, write_results
from tiny_imagenet.sweep.storage import storage_error
from tiny_imagenet.sweep.study import SharedStudy
from tiny_imagenet.sweep.training import Signals, error_of, metric_by_epoch, result, run_command

USAGE = """usage: python -m tiny_imagenet.sweep FILE [--name NAME] [--storage URL] [--retry_failed] [option of fit]...

FILE            a sweep file, or the name of one in configs/sweeps/
--name NAME     the sweep's name, and its folder runs/NAME; by default the stem of FILE
--config NAME   replaces the base config of FILE; if FILE searches over configs, an overlay on each of them
--storage URL   where the trials are recorded, instead of the storage: of FILE
--retry_failed  run failed trials again
Other options are those of `training.py fit`; they override those of FILE, except the ones that it searches.

You can stop a sweep at any time; the same command resumes it. To share the trials between several GPUs or machines, run
the command several times; machines need a common storage."""


def main(argv: list[str] | None = None) -> None:
    """Run a sweep to its end; `argv` defaults to that of the process.

    Exits with 0 if any trial succeeded, and with 1 if none did or for an error the user can fix. After Ctrl-C it exits
    with 130, after SIGTERM with 143 and after SIGHUP with 129, once the current training has saved its state.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        sys.exit(0 if argv else 2)
    retry_failed = "--retry_failed" in argv
    try:
        sweep = read_sweep([argument for argument in argv if argument != "--retry_failed"])
        with Signals() as signals:
            study = SharedStudy(sweep, retry_failed)
            succeeded = run(sweep, study, signals)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(user_message(error) or str(error))
    except optuna.exceptions.StorageInternalError as error:
        _fail(storage_error(sweep.storage, "cannot be used", error.__cause__ or error))
    if signals.received is not None:
        say("Stopped. Run the same command to resume.")
        sys.exit(128 + signals.received)
    sys.exit(0 if succeeded else "error: No trial succeeded; see the reasons above or in trials.csv.")


def _fail(message: str) -> NoReturn:
    sys.exit(f"error: {legible_lines(message)}")


def run(sweep: Sweep, study: SharedStudy, signals: Signals) -> bool:
    """Run trials until none is left or a signal arrives, and keep trials.csv and best.yaml up to date.

    Returns whether any trial of the study has succeeded.
    """
    write_results(sweep, study.trials())
    say(start_line(sweep, study.trials()))
    while (claim := study.claim(stop=lambda: signals.received is not None)) is not None:
        try:
            run_trial(sweep, study, claim, signals)
        except optuna.exceptions.UpdateFinishedTrialError:
            say(f"trial {claim.number}: another worker took this one for dead and runs the trial again.")
        finally:
            claim.release()
        write_results(sweep, study.trials())
    write_results(sweep, study.trials())  # with the trials that other workers finished meanwhile
    say(summary(sweep, study.trials()))
    return any(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials())


def run_trial(sweep: Sweep, study: SharedStudy, claim: Claim, signals: Signals) -> None:
    """Train with a trial's options, test if the sweep asks for it, and record the result."""
    reported = set(claim.trial_now().intermediate_values)

    def report() -> None:
        for epoch, value in metric_by_epoch(claim.run, sweep.metric).items():
            if epoch not in reported:
                claim.trial.report(value, epoch)
                reported.add(epoch)

    def should_prune() -> bool:
        study.beat(claim)
        before = len(reported)
        report()
        return len(reported) > before and claim.trial.should_prune()

    def never_prune() -> bool:
        study.beat(claim)
        return False

    options = [*sweep.arguments(claim.point, claim.seed), f"--name={sweep.name}/{claim.folder.name}"]
    log_start = claim.log.stat().st_size if claim.log.exists() else 0
    say(trial_start_line(claim))
    status, pruned = run_command(["fit", *options, *claim.resuming()], claim, signals, should_prune)
    report()
    if status == 0 and sweep.test:
        status, _ = run_command([*claim.testing(), *sweep.hardware], claim, signals, never_prune)
    value = result(claim.run, sweep.metric, "max" if sweep.direction == "maximize" else "min")
    if status == 0 and value is not None:
        study.complete(claim, value)
    elif status == 0:
        study.fail(claim, f"{claim.run / METRICS} has no number for {sweep.metric}")
    elif signals.received is not None:
        study.requeue(claim)
        say(f"trial {claim.number}: interrupted; it will resume from its last checkpoint.")
        return
    elif pruned:
        study.prune(claim)
    else:
        study.fail(claim, error_of(claim.log, log_start, status))
    say(trial_line(sweep, claim.trial_now(), study.trials()))


if __name__ == "__main__":
    main()
