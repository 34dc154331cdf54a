"""Search engines: real ones (BM25) and simulated ones, all behind `SearchEngine`."""
