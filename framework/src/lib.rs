//! What every experiment has in common; it names no plugin.

pub use inventory;
pub use kernels::{allocator, fused, host, noise, pulp, ranking, rng, vectorized};
pub use store::error;
pub use {store, toml};

pub mod ablation;
pub mod adam;
pub mod archive;
pub mod checkpoint;
pub mod comparison;
pub mod context;
mod controls;
pub mod corpus;
pub mod device;
pub mod evaluation;
pub mod generations;
pub mod language;
pub mod load;
pub mod log;
pub mod metrics;
pub mod parameters;
pub mod picture;
pub mod plugin;
pub mod problem;
pub mod progress;
pub mod protocol;
pub mod provenance;
pub mod roles;
pub mod run;
pub mod search;
pub mod sequences;
pub mod spec;
pub mod stage;
pub mod statistics;
pub mod training;
pub mod truth;
