//! What makes training and statistics fast on the CPU and the same everywhere; it knows tensors, and nothing of
//! experiments.

pub use pulp;

pub mod allocator;
pub mod fused;
pub mod host;
pub mod noise;
pub mod ranking;
pub mod rng;
