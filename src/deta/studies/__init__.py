"""One-factor comparisons: plan, lint, collect, compare, report."""
