"""Subjects measured in turn, in one run: each round asks all of them the same, one after another.

All stay loaded; those that are not being asked are stopped (SIGSTOP), for some spin while they wait.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import processes
from cells import Cell, medians
from models import VOCABULARY
from subject import Setting, Subject
from timeline import Timeline
from workload import Prompts, Workload

CLIENT_WAITED = 0.02
"""A round is thrown away whose client had to wait for a core for more than this share of it."""
SAME = "same_tokens"

Figures = dict[str, float]


@dataclass
class Outcome:
    """What a subject did in a cell."""

    rounds: list[Figures | None] = field(default_factory=list)
    """None: not asked, or thrown away."""
    error: str = ""
    memory: Figures = field(default_factory=dict)

    @property
    def kept(self) -> list[Figures]:
        return [each for each in self.rounds if each is not None]

    def document(self, ours: Outcome) -> dict[str, object]:
        """For the record: medians, and how many times as fast ours was in the same rounds."""
        if not self.kept:
            return {"error": self.error or "every round's client had to wait for a core"}
        ratios = [
            {name: our_round[name] / figure for name, figure in round.items() if figure and name != SAME}
            for our_round, round in zip(ours.rounds, self.rounds, strict=False)
            if our_round and round
        ]
        return {
            **({"error": self.error} if self.error else {}),
            "median": medians(self.kept),
            "ours_over_this": medians(ratios) if ratios else {},
            "memory": self.memory,
            "rounds": self.rounds,
        }


class SideBySide:
    """Subjects that serve the same model."""

    def __init__(self, subjects: dict[str, Subject], setting: Setting, seconds: float) -> None:
        """Each round of a subject may take ``seconds``."""
        self.subjects = subjects
        self.setting = setting
        self.seconds = seconds
        self.pids: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        """Why a subject is not asked any more."""

    def start(self) -> None:
        """Bring all of them up, one after another."""
        for name in self.subjects:
            self._start(name)

    def close(self) -> None:
        for name in self.subjects:
            self._stop(name)

    def measure(self, cell: Cell, rounds: int, seed: str) -> dict[str, Outcome]:
        """The rounds of a cell; every round has prompts of its own, so that nobody finds them in a prefix cache."""
        outcomes = {name: Outcome(error=self.broken.get(name, "")) for name in self.subjects}
        for name, outcome in outcomes.items():
            self._ask(name, outcome, cell.warm_up(Prompts(VOCABULARY, f"{seed} warm-up {cell.name}")))
        names = list(self.subjects)
        for number in range(rounds):
            workload = cell.workload(Prompts(VOCABULARY, f"{seed} {cell.name} {number}"))
            first = number % len(names)
            timelines: dict[str, Timeline] = {}
            for name in names[first:] + names[:first]:
                timeline = None
                if not (self.subjects[name].serial and number):
                    timeline = self._ask(name, outcomes[name], workload)
                if timeline is not None:
                    timelines[name] = timeline
            self._note(cell, outcomes, timelines)
        return outcomes

    def _note(self, cell: Cell, outcomes: dict[str, Outcome], timelines: dict[str, Timeline]) -> None:
        """A round's figures; with them, the share of requests that got the very tokens that the first subject gave."""
        reference = next((timelines[name] for name in self.subjects if name in timelines), None)
        for name, outcome in outcomes.items():
            timeline = timelines.get(name)
            if timeline is None or reference is None or timeline.waited > CLIENT_WAITED * timeline.took:
                outcome.rounds.append(None)
                continue
            same = [a == b for a, b in zip(timeline.token_ids, reference.token_ids, strict=True)]
            figures = cell.figures(timeline) | {SAME: round(sum(same) / len(same), 3)}
            outcome.rounds.append(figures)
            print(f"  {name}: {figures}", file=sys.stderr, flush=True)

    def _ask(self, name: str, outcome: Outcome, workload: Workload) -> Timeline | None:
        """One workload for one subject; one that fails is begun anew and not asked again in this cell."""
        if outcome.error:
            return None
        processes.resume(self.pids[name])
        try:
            timeline = self.subjects[name].run(workload, self.seconds)
        except Exception as error:
            outcome.error = f"{type(error).__name__}: {error}"
            print(f"  {name}: {outcome.error}", file=sys.stderr, flush=True)
            self._stop(name)
            self._start(name)
            return None
        outcome.memory = processes.memory(self.pids[name])
        processes.suspend(self.pids[name])
        return timeline

    def _start(self, name: str) -> None:
        print(f"  {name}: starting", file=sys.stderr, flush=True)
        try:
            self.pids[name] = self.subjects[name].start(self.setting)
        except Exception as error:
            self.broken[name] = f"did not start: {type(error).__name__}: {error}"
            print(f"  {name}: {self.broken[name]}", file=sys.stderr, flush=True)
            self._stop(name)
            return
        processes.suspend(self.pids[name])

    def _stop(self, name: str) -> None:
        if name in self.pids:
            processes.resume(self.pids.pop(name))
        self.subjects[name].close()
