"""The comparison that the audit rests on can fail: python3 scripts/audit/claims_test.py"""

import copy
import unittest

import build_page
import claims


class Agreement(unittest.TestCase):
    def test_integers_are_exact(self):
        self.assertTrue(claims.agrees({"value": 223104}, 223104))
        self.assertFalse(claims.agrees({"value": 223104}, 223105))

    def test_numbers_agree_to_the_digits_stated(self):
        self.assertTrue(claims.agrees({"value": 217.9}, 217.875))
        self.assertFalse(claims.agrees({"value": 217.9}, 217.84))

    def test_truths_are_no_numbers(self):
        self.assertTrue(claims.agrees({"value": True}, True))
        self.assertFalse(claims.agrees({"value": True}, False))
        self.assertFalse(claims.agrees({"value": 1}, True))

    def test_times_agree_within_their_factor(self):
        entry = {"value": 100, "factor": 2}
        self.assertTrue(claims.agrees(entry, 51.0))
        self.assertFalse(claims.agrees(entry, 49.0))
        self.assertFalse(claims.agrees(entry, 201.0))


class Verification(unittest.TestCase):
    def setUp(self):
        self.document = claims.load()

    def test_every_stated_value_is_as_recorded(self):
        self.assertEqual(build_page.verify(self.document, allow_missing=True), [])

    def test_any_other_value_is_refused(self):
        changed = 0
        for index, claim in enumerate(self.document["claim"]):
            for place, entry in enumerate(claim["measured"]):
                if claims.pending(entry):
                    continue
                document = copy.deepcopy(self.document)
                wrong = document["claim"][index]["measured"][place]
                value = wrong["value"]
                wrong["value"] = not value if isinstance(value, bool) else value * 10 + 7
                self.assertEqual(len(build_page.verify(document, allow_missing=True)), 1)
                changed += 1
        self.assertGreater(changed, 0)

    def test_any_other_interval_is_refused(self):
        for claim in self.document["claim"]:
            for entry in claim["measured"]:
                if "interval" in entry:
                    entry["interval"][1] += 1
                    self.assertEqual(len(build_page.verify(self.document, allow_missing=True)), 1)
                    return
        self.fail("no interval is stated")

    def test_missing_values_are_refused_unless_allowed(self):
        document = copy.deepcopy(self.document)
        del document["claim"][0]["measured"][0]["value"]
        self.assertEqual(build_page.verify(document, allow_missing=True), [])
        self.assertNotEqual(build_page.verify(document, allow_missing=False), [])


if __name__ == "__main__":
    unittest.main()
