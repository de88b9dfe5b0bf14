//! Gateways that talk to each other in virtual time.

mod changes;
mod network;
mod tests;
