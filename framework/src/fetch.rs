//! stub
/// stub
pub struct Archive { }
