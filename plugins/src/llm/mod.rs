//! Decoder language models on any burn device: loading, generating, scoring, fine-tuning. Not plugins themselves.

pub(crate) mod architecture;
mod attention;
mod cache;
mod composed;
mod decoder;
mod generate;
mod layout;
mod linear;
mod load;
mod lora;
pub(crate) mod model;
mod sampling;
mod score;
pub(crate) mod tokenizer;
mod tune;
pub(crate) mod weights;
