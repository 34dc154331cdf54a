"""Chat models by URL and local ones: weights, adapters, samplers, the embedded model."""
