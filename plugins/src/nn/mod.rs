//! Layers that plugins share; not plugins.

pub(crate) mod features;
pub(crate) mod gru;
pub(crate) mod item_bias;
pub(crate) mod ligr;
pub(crate) mod linear;
pub(crate) mod transformer;
