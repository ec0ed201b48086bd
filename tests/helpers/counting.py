"""Callbacks as users write them: one whose state begins as None and becomes a number, and one with a fault."""

from typing import Any

from lightning.pytorch.callbacks import Callback


class Counting(Callback):
    def __init__(self) -> None:
        self.seen: Any = 0
        self.names: list[str] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.seen = (self.seen or 0) + 0.5
        self.names.append(str(self.seen))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen if self.seen else None, "names": self.names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen, self.names = state_dict["seen"] + 0.0, state_dict["names"]


class Failing(Callback):
    """Has a fault of its own."""

    def on_fit_start(self, *args: Any) -> None:
        self.share = 1 / 0
