//! stub
mod evaluator {
    mod ranking;
}
