//! What every experiment has in common; it names no plugin.

pub use inventory;
pub use pulp;
pub use toml;

pub mod ablation;
pub mod adam;
pub mod allocator;
pub mod ask;
#[path = "../benches/bench.rs"]
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod context;
pub mod corpus;
pub mod device;
pub mod docs;
mod download;
pub mod error;
pub mod evaluation;
pub mod fetch;
pub mod fused;
pub mod generations;
pub mod host;
pub mod hub;
pub mod language;
pub mod load;
pub mod log;
pub mod metrics;
pub mod noise;
pub mod parameters;
pub mod plugin;
pub mod problem;
pub mod progress;
pub mod protocol;
pub mod provenance;
pub mod report;
pub mod rng;
pub mod roles;
pub mod run;
pub mod sequences;
pub mod spec;
pub mod stage;
pub mod statistics;
pub mod store;
pub mod training;
pub mod truth;
