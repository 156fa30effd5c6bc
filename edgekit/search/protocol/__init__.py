"""What a search is to a strategy: the problem, the loop, candidates by the thousand, walls."""
