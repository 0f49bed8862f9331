//! What every experiment has in common; it names no plugin.

pub use inventory;
pub use toml;

pub mod ablation;
pub mod cli;
pub mod context;
pub mod corpus;
pub mod device;
pub mod docs;
pub mod error;
pub mod evaluation;
pub mod fetch;
pub mod load;
pub mod log;
pub mod metrics;
pub mod plugin;
pub mod problem;
pub mod progress;
pub mod protocol;
pub mod provenance;
pub mod report;
pub mod rng;
pub mod roles;
pub mod run;
pub mod spec;
pub mod speed;
pub mod stage;
pub mod statistics;
pub mod store;
pub mod truth;
