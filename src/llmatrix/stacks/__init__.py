"""How each kind of stack does the steps that stand on a site."""
