//! Gateways that talk to each other in virtual time.

mod network;
mod tests;
