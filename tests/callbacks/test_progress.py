"""How training shows its progress."""

import re
import sys


def test_a_terminal_gets_a_bar_with_the_loss_of_the_step(run, small, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--trainer.log_every_n_steps=50")
    assert status == 0, output
    assert re.search(r"Epoch 0: 100%.* loss=\d\.\d{3}", output) and "epoch 1/1 |" not in output
