//! Layers that plugins share; not plugins.

pub(crate) mod linear;
pub(crate) mod transformer;
