//! Tests of the whole program, as a user meets it: one binary, one module per subject.

mod ablations;
mod bucket;
mod cases;
mod checkpoints;
mod contracts;
mod exports;
mod html;
mod language_servers;
mod messages;
mod mutations;
mod pages;
mod pictures;
mod pipeline;
mod program;
mod protocols;
mod readers;
mod reports;
mod searches;
mod store;
mod third_party;
mod versions;

use plugins as _;
