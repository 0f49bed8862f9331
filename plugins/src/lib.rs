//! The plugins that ship with ablate: one file each, private; this is their table of contents.

mod aggregator {
    mod placebo;
    mod recurrent;
}
mod counts;
#[cfg(test)]
mod fixture;
mod dataset {
    mod movielens;
    mod placebo;
    mod world;
}
mod evaluator {
    mod ranking;
}
mod language_model {
    mod batch;
    mod chat_completions;
    mod local;
    mod openai;
    mod scripted;
    mod tiny;
}
mod llm;
mod loss {
    mod bce;
    mod bpr;
    mod cross_entropy;
    mod gbce;
    mod sampled_softmax;
}
mod nn;
mod recommender {
    mod llm;
    mod markov;
    mod oracle;
    mod placebo;
    mod popularity;
    mod random;
    mod recent_popularity;
    mod sasrec;
}
mod placebo;
mod template;
