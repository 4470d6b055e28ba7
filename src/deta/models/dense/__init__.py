"""Dense bodies: every cell of every level predicts boxes around its priors."""
