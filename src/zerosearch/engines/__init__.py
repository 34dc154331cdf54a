"""Search engines, all behind `SearchEngine`: BM25 over a corpus, engines behind a URL, and simulated ones."""
