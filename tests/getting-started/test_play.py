"""How the page is read, without running it."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import play  # noqa: E402


class Steps(unittest.TestCase):
    def test_the_page_is_read_whole(self):
        page = play.PAGE.read_text()
        steps = play.steps_of(page)
        self.assertEqual(len([step for step in steps if step.text]), page.count("\n```") // 2)
        kinds = {step.kind for step in steps}
        self.assertEqual(kinds, {"file", "patch", "run", "stays", "interrupt", "output"})

    def test_marks_say_what_blocks_are_for(self):
        page = 'x\n\n<!-- file: a.rs -->\n```rust\none\n```\n<!-- interrupt: worker -->\n<!-- run: fails -->\n```sh\nfalse\n```\n'
        steps = [(step.kind, step.argument, step.text) for step in play.steps_of(page)]
        wanted = [("file", "a.rs", "one\n"), ("interrupt", "worker", ""), ("run", "fails", "false\n")]
        self.assertEqual(steps, wanted)

    def test_what_would_not_be_tried_is_refused(self):
        for page in ("```sh\nls\n```\n", "<!-- run -->\nwords\n```sh\nls\n```\n", "words\n\n    ls\n", "<!-- run -->\n```sh\nls\n"):
            with self.subTest(page=page), self.assertRaises(play.Failed):
                play.steps_of(page)

    def test_lines_of_output_must_come_in_order(self):
        self.assertIsNone(play.in_order("a\nc\n", "a\nb\nc\n"))
        self.assertEqual(play.in_order("c\na\n", "a\nb\nc\n"), "a")

    def test_times_and_widths_may_differ_and_words_may_not(self):
        wanted = "  7   0.011 s  said (once) after 0.003 s, 2026-01-31 12:00:00\n"
        self.assertIsNone(play.in_order(wanted, "7 12.0 s said (once) after 0.9 s,  2027-12-01 00:00:01"))
        self.assertEqual(play.in_order(wanted, "7 12.0 s said (twice) after 0.9 s, 2027-12-01 00:00:01"), wanted[:-1])
        self.assertEqual(play.in_order(wanted, "8 12.0 s said (once) after 0.9 s, 2027-12-01 00:00:01"), wanted[:-1])


if __name__ == "__main__":
    unittest.main()
