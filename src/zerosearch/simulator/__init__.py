"""The engine whose pages a language model writes, and the tools to make one: collect, record, label, tune, fidelity."""
