"""What is to be known of generated data before anybody trains on it: measures, and the page that shows them."""
