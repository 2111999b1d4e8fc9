"""Looking at models and trainings without changing them."""
