//! stub
/// stub
pub fn start() {}
