//! The plugins that ship with ablate: one file each, private; this is their table of contents.

mod counts;
mod dataset {
    mod movielens;
    mod world;
}
mod evaluator {
    mod ranking;
}
mod recommender {
    mod markov;
    mod oracle;
    mod popularity;
    mod random;
    mod recent_popularity;
}
