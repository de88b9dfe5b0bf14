//! The lab: sites, links and the Internet between them, in network namespaces. And the benches.
#![deny(unsafe_code)]

pub mod bench;
pub mod capture;
pub mod demo;
pub mod gateway;
pub mod lab;
pub mod middlebox;
pub mod negotiated_config;
pub mod netns;
pub mod peers;
mod procfs;
pub mod profiles;
pub mod scenarios;
pub mod shape;
pub mod site_config;
pub mod snapshot;
mod svg;
mod sys;
pub mod traffic;
pub mod wait;
