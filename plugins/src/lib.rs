//! The plugins that ship with ablate: one file each, private; this is their table of contents.

mod aggregator {
    mod placebo;
    mod recurrent;
}
mod baskets;
mod clusters;
mod counts;
mod descent;
mod factors;
#[cfg(test)]
mod fixture;
mod dataset {
    mod amazon_reviews;
    mod lastfm;
    mod microlens;
    mod movielens;
    mod placebo;
    mod recbole;
    mod sequences;
    mod steam;
    mod table;
    mod world;
}
mod embeddings {
    mod attributes;
    mod concat;
    mod ids;
    mod pictures;
    mod placebo;
    mod table;
    mod title_words;
    mod titles;
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
    mod bert4rec;
    mod bpr_mf;
    mod caser;
    mod ease;
    mod esasrec;
    mod fpmc;
    mod gru4rec;
    mod gru4rec_f;
    mod imported;
    mod item_knn;
    mod llm;
    mod markov;
    mod mmsr;
    mod narm;
    mod oracle;
    mod placebo;
    mod popularity;
    mod random;
    mod recent_popularity;
    mod rerank;
    mod sasrec;
    mod sasrec_f;
    mod vbpr;
}
mod pixels;
mod placebo;
mod reading;
mod split;
mod template;
