"""Pages to look through: what a run, a result or an evaluation says, with its pictures and charts."""
