//! stub
/// r
#[derive(Clone,Copy,Debug,PartialEq)] pub struct Rank{/// a
pub above:u32,/// t
pub tied:u32,/// c
pub candidates:u32}
/// m
#[derive(Clone,Debug,PartialEq)] pub struct Metric;
impl Metric{/// v
pub fn value(&self,_:Rank)->Option<f64>{None}}
