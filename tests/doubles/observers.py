"""Observers of runs that tests watch and stop."""

import signal

from kennel.engine.observer import TrainObserver


class StopAt(TrainObserver):
    """Remembers what was said; sends itself the signal `by` once, when the run has shown `images` images."""

    def __init__(self, images: int = 10**9, by: int = signal.SIGINT) -> None:
        self.images, self.by = images, by
        self.said: list[str] = []

    def log(self, sentence: str) -> None:
        self.said.append(sentence)

    def on_iteration(self, images_seen: int, total: int) -> None:
        if images_seen >= self.images:
            self.images = 10**9
            signal.raise_signal(self.by)

    def heard(self, words: str) -> bool:
        return any(words in sentence for sentence in self.said)
