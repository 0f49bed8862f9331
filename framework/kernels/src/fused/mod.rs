//! Operations that a training step spends its time on, each with its gradient written by hand.
//!
//! burn composes them of small operations, one thread each, and its graph keeps every intermediate. On the CPU these
//! replace whole chains of them; elsewhere they compose burn's operations. Both give the same numbers (see the tests).

mod additive;
mod attention;
mod dropout;
mod gelu;
pub mod gradient;
mod gru;
mod layer_norm;
mod losses;
mod products;
mod rms_norm;
mod swiglu;
pub mod vector;

pub use additive::additive_scores;
pub use attention::{Visible, attention};
pub(crate) use dropout::masked;
pub use gelu::gelu;
pub use gru::gru;
pub use layer_norm::layer_norm;
pub use losses::{candidates_loss, cross_entropy, weighted_cross_entropy, with_negatives};
pub use products::products;
pub use rms_norm::rms_norm;
pub use swiglu::swiglu;
