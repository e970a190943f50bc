//! Uplinks: how events get to the regional gateway.
