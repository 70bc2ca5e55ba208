"""Programs that tests start in order to send them signals."""
