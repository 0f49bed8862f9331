//! Decoder language models on any burn device: loading, generating, scoring, fine-tuning; and a sentence encoder. Not
//! plugins themselves.

mod added;
pub(crate) mod architecture;
mod attention;
mod bench;
mod cache;
#[cfg(test)]
mod cases;
mod chat;
mod composed;
mod decoder;
pub(crate) mod describe;
pub(crate) mod encoder;
mod few;
mod generate;
mod gguf;
mod layout;
mod linear;
pub(crate) mod load;
pub(crate) mod lora;
pub(crate) mod model;
pub(crate) mod peft;
mod pickle;
pub(crate) mod rope;
mod sampling;
mod score;
mod shards;
#[cfg(test)]
mod tests;
pub(crate) mod tokenizer;
mod tune;
mod vocabulary;
pub(crate) mod weights;
