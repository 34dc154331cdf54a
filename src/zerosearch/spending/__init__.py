"""What searches and tokens cost, and the budgets that bound them."""
