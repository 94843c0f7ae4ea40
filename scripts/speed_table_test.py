#!/usr/bin/env python3
"""scripts/speed_table.py on invented measurements."""
import json
import pathlib
import tempfile
import unittest

import speed_table

LANDMARK = "landmark(semantics=fixed,window=256,exact=64,summary=64)"


def kernel(name, **counters):
    return {"name": f"{name}/iterations:15/manual_time", "sm_MHz": 1700.0, "W": 650.0, "%held_back": 40.0, **counters}


class SpeedTable(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)

    def tearDown(self):
        self.temporary.cleanup()

    def kernels(self, name, entries):
        context = {"gpu": "NVIDIA H200", "driver": "580.1", "power_limit_W": "700.0", "commit": "c" * 40, "cudnn": "91900"}
        (self.folder / f"{name}.json").write_text(json.dumps({"context": context, "benchmarks": entries}))

    def record(self, name, rows):
        (self.folder / name).mkdir()
        run = {"device": {"name": "NVIDIA H200", "driver": "580.1", "power_limit_watts": 700.0},
               "provenance": {"git_commit": "c" * 40}, "weights": {"step_bytes": 14.2e9},
               "ceilings": {"copy_bytes_per_second": 4.2e12}}
        (self.folder / name / "run.json").write_text(json.dumps(run))
        (self.folder / name / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def line(self, start):
        lines = [line for line in self.table().splitlines() if line.startswith("| " + start)]
        self.assertEqual(len(lines), 1, start)
        return lines[0]

    def table(self):
        return speed_table.table(speed_table.Folder(self.folder))

    def dense(self, n, regime, value):
        return kernel(f"prefill_dense/hd:128/streams:2/N:{n}/warm/{regime}", vs_peer=value, vs_peer_p10=value - 0.02,
                      vs_peer_p90=value + 0.02, **({"vs_peer_energy": 1.4} if regime == "busy" else {}))

    def test_both_regimes_decide(self):
        self.kernels("dense-differential", [
            self.dense(2048, "cool", 1.30), self.dense(2048, "busy", 1.26),
            self.dense(4096, "cool", 1.30), self.dense(4096, "busy", 1.12),
            self.dense(8192, "cool", 1.30), self.dense(8192, "busy", 1.09),
            self.dense(16384, "cool", 1.30)])
        self.assertTrue(self.line("differential dense prefill attention against cuDNN 64/8 and combine, 2048").endswith(
            "| 1.10x | 1.25x | 1.30x [1.28x, 1.32x] | 1.26x [1.24x, 1.28x] | 1700 MHz, 650 W, held back 40 % "
            "| 1700 MHz, 650 W, held back 40 % | 1.40x | aim reached |"))
        self.assertIn("| reached |", self.line("differential dense prefill attention against cuDNN 64/8 and combine, 4096"))
        self.assertIn("**missed**", self.line("differential dense prefill attention against cuDNN 64/8 and combine, 8192"))
        self.assertIn("**not measured**", self.line("differential dense prefill attention against cuDNN 64/8 and combine, 16384"))
        self.assertIn("NVIDIA H200, driver 580.1, power limit 700 W, commit cccccccccccc, cuDNN 91900", self.table())
        self.assertIn("30 rows: 2 reached, 1 missed, 27 not measured", self.table())

    def test_an_absent_peer_and_an_error_say_why(self):
        self.kernels("dense-differential", [
            kernel("prefill_dense/hd:128/streams:2/N:2048/warm/cool", label="vs_peer: cuDNN absent (no library)"),
            kernel("prefill_dense/hd:128/streams:2/N:2048/warm/busy", error_occurred=True, error_message="it differs")])
        line = self.line("differential dense prefill attention against cuDNN 64/8 and combine, 2048")
        self.assertIn("cuDNN absent (no library)", line)
        self.assertIn("it differs", line)
        self.assertIn("**not measured**", line)

    def test_whole_passes(self):
        def row(method, stage, context, batch, seconds, repeat=0, **more):
            return {"method": method, "stage": stage, "context": context, "batch": batch, "repeat": repeat,
                    "seconds": seconds, "sm_mhz": 1500.0, "power_watts": 690.0, "held_back": 1.0, **more}
        peer, phases = "full (cuDNN attention)", {"bank": {"seconds": 0.01}}
        self.record("prefill", [row(LANDMARK, "prefill", 8192, 1, 0.2, r, phases=phases) for r in (0, 1)] +
                    [row(peer, "prefill", 8192, 1, 0.25, r) for r in (0, 1)] +
                    [row(LANDMARK, "prefill", 131072, 1, 4, phases=phases), row(peer, "prefill", 131072, 1, 10)])
        self.record("decode", [row(LANDMARK, "decode", 8192, 1, 0.004, phases={"bank": {"seconds": 3e-5}},
                                   without_bank_seconds=0.00396)])
        self.record("batch-256", [row(LANDMARK, "capacity", 8192, 256, 0.008), row("full", "capacity", 8192, 110, 0.03)])
        self.record("eden", [row("full", "decode", 32768, 16, 0.02), row("full+eden(bits=4)", "decode", 32768, 16, 0.018)])
        self.assertIn("| 0.95 | 0.87 | - | 0.80 | - | 1500 MHz, 690 W, held back 100 % | - | aim reached |",
                      self.line("landmark prefill time against full cache with cuDNN attention, 8k"))
        self.assertIn("not measured", self.line("landmark prefill time against full cache with cuDNN attention, 32k"))
        self.assertIn("| 0.40 |", self.line("landmark prefill time against full cache with cuDNN attention, 128k"))
        self.assertIn("**missed**", self.line("landmark prefill time against full cache with cuDNN attention, 128k"))
        self.assertIn("| 5.0 % |", self.line("landmark scan"))
        self.assertIn("| 84.5 % |", self.line("decode batch 1"))
        self.assertIn("| 0.8 % |", self.line("bank step, share"))
        self.assertIn("| 1.0 % |", self.line("bank step by leaving it out"))
        self.assertIn("| 32.0k tokens/s |", self.line("decode batch 256"))
        self.assertIn("| 8.73x |", self.line("the same against full cache"))
        self.assertIn("| 1.11x |", self.line("eden-4"))

    def test_a_landmark_batch_that_is_not_256_does_not_count(self):
        self.record("batch-256", [{"method": LANDMARK, "stage": "capacity", "context": 8192, "batch": 200, "repeat": 0,
                                   "seconds": 0.008}])
        self.assertIn("**not measured**", self.line("decode batch 256"))


if __name__ == "__main__":
    unittest.main()
