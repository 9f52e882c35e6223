"""Tasks, metrics, files of predictions and of answers, and what scores say."""
