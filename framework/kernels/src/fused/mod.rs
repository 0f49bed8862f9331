//! Operations that a training step spends its time on, each with its gradient written by hand.
//!
//! burn composes them of small operations, one thread each, and its graph keeps every intermediate. On the CPU these
//! replace whole chains of them; elsewhere they compose burn's operations. Both give the same numbers (see the tests).

mod attention;
mod dropout;
pub mod gradient;
mod layer_norm;
mod losses;
mod rms_norm;
mod swiglu;
pub mod vector;

pub use attention::{Causal, attention};
pub(crate) use dropout::masked;
pub use layer_norm::layer_norm;
pub use losses::{candidates_loss, cross_entropy, weighted_cross_entropy, with_negatives};
pub use rms_norm::rms_norm;
pub use swiglu::swiglu;
