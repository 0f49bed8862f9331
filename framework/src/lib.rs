//! What every experiment has in common; it names no plugin.

pub use inventory;
pub use toml;

pub mod context;
pub mod corpus;
pub mod error;
pub mod evaluation;
pub mod fetch;
pub mod metrics;
pub mod plugin;
pub mod problem;
pub mod progress;
pub mod protocol;
pub mod rng;
pub mod roles;
pub mod truth;
