"""Pages about runs, results and evaluations, with pictures and charts; and results as text."""
