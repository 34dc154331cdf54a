"""A search engine behind URLs: `/retrieve`, SerpAPI's shape, MCP and OpenEnv, for trainers of any kind."""
