"""One question being answered: questions, protocol, episode, rollout, trajectory, scores, curriculum."""
