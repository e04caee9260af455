"""Tables, pictures and the page that answers the experiment's question."""
