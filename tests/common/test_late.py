"""What fairseq needs for two tasks only is not imported at the start, and is there when it is called."""

import subprocess
import sys

from end_to_end import environment

CODE = """
import sys
import b2t_fairseq
from fairseq.criterions import sentence_prediction
from fairseq.tasks import audio_classification
assert not {"sklearn", "scipy.stats"} & set(sys.modules), "imported at the start"
assert abs(sentence_prediction.f1_score([1, 0, 1], [1, 1, 1]) - 0.8) < 1e-9
assert abs(sentence_prediction.pearsonr([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])[0] - 1) < 1e-9
rates = audio_classification.sklearn_metrics.roc_curve([0, 1], [0.1, 0.9])
assert len(rates) == 3 and "sklearn" in sys.modules
import sklearn.metrics
assert sklearn.metrics.f1_score.__module__.startswith("sklearn.")
"""


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=300)


def test_late_and_the_same():
    done = run(CODE)
    assert done.returncode == 0, done.stderr


def test_what_is_there_already_stays():
    done = run("import sklearn.metrics as before, sys, b2t_fairseq\nassert sys.modules['sklearn.metrics'] is before")
    assert done.returncode == 0, done.stderr
