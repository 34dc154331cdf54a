"""What turns a language model into a search engine, and how good an engine it is."""
