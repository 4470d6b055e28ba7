"""Query bodies: encoder, source of queries, decoder and heads."""
