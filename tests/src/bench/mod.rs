//! Measuring: what the product costs on the machine at hand.
//!
//! A bench measures everything several times in turn, so that what else the machine does falls on
//! all figures alike, and reports medians. Ratios are taken within a run, never between runs.

pub mod bonding;
mod choose;
mod cpu;
pub mod dataplane;
mod figures;
mod matrix;
mod measure;
pub mod plot;
pub mod report;
mod stats;
mod table;
pub mod tunnel;
