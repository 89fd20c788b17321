"""The autoscaler's rule and its reading of a metrics page, without docker."""

from __future__ import annotations

import sys
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "deploy" / "compose" / "autoscale"
sys.dont_write_bytecode = True
loader = SourceFileLoader("autoscale", str(PROGRAM))
autoscale = module_from_spec(spec_from_loader("autoscale", loader))
loader.exec_module(autoscale)

PAGE = """# TYPE fermata_task_queue_backlog gauge
fermata_task_queue_backlog{kind="activity",namespace="default",task_queue="payment-queue"} 41
fermata_task_queue_backlog{kind="workflow",namespace="default",task_queue="payment-queue"} 7
fermata_task_queue_backlog{kind="activity",namespace="other",task_queue="payment-queue"} 9
"""


class Backlog(unittest.TestCase):
    def test_only_the_wanted_queue_counts(self):
        wanted = {"namespace": "default", "task_queue": "payment-queue", "kind": "activity"}
        self.assertEqual(autoscale.backlog_of(PAGE, wanted), 41)

    def test_an_empty_queue_is_not_on_the_page(self):
        wanted = {"namespace": "default", "task_queue": "email-queue", "kind": "activity"}
        self.assertEqual(autoscale.backlog_of(PAGE, wanted), 0)


class Rule(unittest.TestCase):
    def rule(self):
        return autoscale.Rule(low=1, high=5, tasks_per_worker=20, down_after=10)

    def test_a_backlog_is_answered_at_once_within_bounds(self):
        self.assertEqual(self.rule().decide(0, backlog=41, running=1), 3)
        self.assertEqual(self.rule().decide(0, backlog=4_000, running=1), 5)
        self.assertEqual(self.rule().decide(0, backlog=0, running=0), 1)

    def test_workers_stay_as_long_as_they_were_asked_for_lately(self):
        rule = self.rule()
        self.assertEqual(rule.decide(0, backlog=100, running=1), 5)
        self.assertEqual(rule.decide(9, backlog=50, running=5), 5)
        self.assertEqual(rule.decide(11, backlog=0, running=5), 3)
        self.assertEqual(rule.decide(20, backlog=0, running=3), 1)

    def test_a_start_takes_nobody_away_before_it_has_looked_long_enough(self):
        rule = self.rule()
        self.assertEqual(rule.decide(0, backlog=0, running=4), 4)
        self.assertEqual(rule.decide(9, backlog=0, running=4), 4)
        self.assertEqual(rule.decide(10, backlog=0, running=4), 1)


if __name__ == "__main__":
    unittest.main()
