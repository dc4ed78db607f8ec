"""The page of the metric, for a Space with gradio."""

from pathlib import Path

import evaluate
from evaluate.utils import launch_gradio_widget


# The Space's own script, whatever its folder is called.
launch_gradio_widget(evaluate.load(str(Path(__file__).with_name("prediction_stability.py"))))
