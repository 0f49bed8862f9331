//! What a search tries next, and what it is told of it.

use super::{Axis, Method, Point, Search, Values};
use crate::rng::Rng;
use crate::spec::Spec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::HashSet;
use tpe::TpeOptimizer;

/// Says what to try next. The order hangs on the seed and, for TPE, on what was found.
pub struct Proposals {
    axes: Vec<Axis>,
    method: Method,
    left: usize,
    next: usize,
    rng: Rng,
    estimators: Vec<TpeOptimizer>,
    estimators_rng: StdRng,
    tried: HashSet<String>,
    /// Of the last point, by axis: what its estimator said.
    places: Vec<f64>,
}

impl Proposals {
    /// Trials that are random before estimators have something to go by, as in Optuna.
    const STARTUP: usize = 10;

    /// For a row.
    pub fn new(search: &Search, spec: &Spec) -> Self {
        Self::over(search.axes(spec), search)
    }

    pub(super) fn over(axes: Vec<Axis>, search: &Search) -> Self {
        let estimators = axes.iter().map(|axis| match &axis.values {
            Values::Listed(values) => {
                let places = tpe::categorical_range(values.len()).expect("a list has values");
                TpeOptimizer::new(tpe::histogram_estimator(), places)
            }
            Values::Range { .. } => {
                TpeOptimizer::new(tpe::parzen_estimator(), tpe::range(0.0, 1.0).expect("0 is below 1"))
            }
        });
        Self {
            estimators: estimators.collect(),
            // Nothing to tune is nothing to try.
            left: if axes.is_empty() { 0 } else { search.trials },
            axes,
            method: search.method,
            next: 0,
            rng: Rng::new(search.seed, "search"),
            estimators_rng: StdRng::seed_from_u64(search.seed),
            tried: HashSet::new(),
            places: Vec::new(),
        }
    }

    /// The next point; none when the budget is spent or everything was tried.
    pub fn propose(&mut self) -> Option<Point> {
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        self.places.clear();
        let point = match self.method {
            Method::Grid => self.of_grid(self.next - 1)?,
            Method::Tpe if self.next > Self::STARTUP => self.estimated(),
            Method::Random | Method::Tpe => self.unseen()?,
        };
        self.tried.insert(format!("{point:?}"));
        Some(point)
    }

    /// What the last point is worth: higher is better, 0 is worst.
    pub fn tell(&mut self, validation: f64) {
        for (estimator, place) in self.estimators.iter_mut().zip(&self.places) {
            // It minimizes. Neither can fail: places are its own or inside its range, and validation is a number.
            let _ = estimator.tell(*place, -validation);
        }
    }

    /// The point at these places from 0 to 1.
    fn point(&self, places: &[f64]) -> Point {
        self.axes.iter().zip(places).map(|(axis, place)| (axis.key(), axis.values.at(*place))).collect()
    }

    fn of_grid(&self, mut n: usize) -> Option<Point> {
        let mut point = Point::new();
        for axis in self.axes.iter().rev() {
            let Values::Listed(values) = &axis.values else { return None };
            point.insert(axis.key(), values[n % values.len()].clone());
            n /= values.len();
        }
        (n == 0).then_some(point)
    }

    /// A random point that was not tried; none where that is hard to find, since few are left.
    fn unseen(&mut self) -> Option<Point> {
        for attempt in 0..1000 {
            let mut rng = self.rng.fork((self.next as u64) << 32 | attempt);
            let places: Vec<f64> = self.axes.iter().map(|_| rng.uniform()).collect();
            let point = self.point(&places);
            if !self.tried.contains(&format!("{point:?}")) {
                let scaled = self.axes.iter().zip(&places).map(|(axis, place)| match &axis.values {
                    Values::Listed(values) => place * values.len() as f64,
                    Values::Range { .. } => *place,
                });
                self.places = scaled.collect();
                return Some(point);
            }
        }
        None
    }

    fn estimated(&mut self) -> Point {
        let rng = &mut self.estimators_rng;
        // It cannot fail: the estimators' ranges are sound.
        self.places = self.estimators.iter_mut().map(|estimator| estimator.ask(rng).unwrap_or(0.5)).collect();
        let places = self.axes.iter().zip(&self.places).map(|(axis, place)| match &axis.values {
            Values::Listed(values) => place / values.len() as f64,
            Values::Range { .. } => *place,
        });
        self.point(&places.collect::<Vec<_>>())
    }
}
