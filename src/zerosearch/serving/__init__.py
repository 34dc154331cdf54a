"""A search engine by URL: `/retrieve`, SerpAPI's format, MCP and OpenEnv, for any trainer."""
