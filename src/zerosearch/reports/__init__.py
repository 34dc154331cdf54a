"""Looking at runs and evaluations: their episodes, and the report, one HTML file that needs nothing else."""
