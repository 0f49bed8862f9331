//! Plots as inline SVG, drawn for a phone's width: text is as wide as text elsewhere on the page. Colors are classes
//! that the page's style fills, so that they follow its light and dark mode. What is plotted is chosen in `figures`.

use super::Interval;
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const RIGHT: f64 = 348.0;

/// Text that is safe inside HTML.
pub(super) fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A line of a plot: what it shows, its style, its points.
pub(super) struct Line {
    /// Said when it is pointed at.
    pub(super) title: String,
    /// `one` (drawn through, filled marks) or `other` (dashed, hollow marks).
    pub(super) class: &'static str,
    /// Place and value, the interval's ends equal to the value where there is none.
    pub(super) points: Vec<(f64, Interval)>,
}

/// What stands below a plot's horizontal axis.
pub(super) enum Across {
    /// Numbers.
    Numbers(String),
    /// A word for each of the places 0, 1, 2, …
    Words(String, Vec<String>),
}

/// A range of values and where it lies.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Covers the finite values with a little room on both sides.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if finite.is_empty() { (0.0, 1.0) } else { (low, high) };
        let room = if high > low { 0.06 * (high - low) } else { f64::max(0.1 * low.abs(), 1e-3) };
        Self { low: low - room, high: high + room, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// At least three round numbers inside, as they are written.
    fn ticks(&self) -> Vec<(f64, String)> {
        let span = self.high - self.low;
        let magnitude = 10f64.powf(span.log10().floor());
        let inside = |step: f64| (self.high / step).floor() - (self.low / step).ceil() + 1.0;
        let steps = [5.0, 2.0, 1.0, 0.5, 0.2].map(|step| step * magnitude);
        let step = steps.into_iter().find(|step| inside(*step) >= 3.0).unwrap_or(span / 4.0);
        let places = (-step.log10().floor()).max(0.0) as usize;
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|n| n as f64 * step).map(|value| (value, format!("{:.places$}", value + 0.0))).collect()
    }
}

/// The finished picture: `title` is what it shows, `words` the same for who cannot see it.
fn svg(title: &str, words: &str, height: f64, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{0}. {1}\"><title>{0}</title><desc>{1}</desc>{body}</svg>",
        escaped(title),
        escaped(words)
    )
}

fn text(body: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = write!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
}

fn stroke(body: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = write!(body, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

/// Rows of intervals around zero; a bar from zero where `bars`. A row is its label, its interval, its style.
pub(super) fn intervals(title: &str, unit: &str, rows: &[(String, Interval, &str)], bars: bool) -> String {
    let values = rows.iter().flat_map(|(_, i, _)| [i.low, i.mean, i.high]).chain([0.0]);
    let axis = Axis::new(values, 12.0, RIGHT);
    let bottom = 12.0 + 46.0 * rows.len() as f64;
    let mut body = String::new();
    for (value, words) in axis.ticks() {
        stroke(&mut body, "grid", (axis.at(value), 6.0), (axis.at(value), bottom));
        text(&mut body, (axis.at(value), bottom + 16.0), "middle", &words);
    }
    stroke(&mut body, "axis", (axis.at(0.0), 6.0), (axis.at(0.0), bottom));
    text(&mut body, (WIDTH / 2.0, bottom + 34.0), "middle", unit);
    let mut words = String::new();
    for (n, (label, interval, class)) in rows.iter().enumerate() {
        let Interval { mean, low, high, .. } = *interval;
        let (top, y) = (12.0 + 46.0 * n as f64, 12.0 + 46.0 * n as f64 + 29.0);
        text(&mut body, (12.0, top + 14.0), "start", &shortened(label, 44));
        let said = format!("{label}: {mean:+.4}, from {low:+.4} to {high:+.4}");
        let _ = write!(words, "{said}. ");
        let _ = write!(body, "<g class=\"{class}\"><title>{}</title>", escaped(&said));
        if bars {
            let (from, to) = (axis.at(mean.min(0.0)), axis.at(mean.max(0.0)));
            let _ = write!(
                body,
                "<rect class=\"bar\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>",
                y - 7.0,
                to - from
            );
        }
        stroke(&mut body, "whisker", (axis.at(low), y), (axis.at(high), y));
        for end in [low, high] {
            stroke(&mut body, "whisker", (axis.at(end), y - 5.0), (axis.at(end), y + 5.0));
        }
        if !bars {
            let _ = write!(body, "<circle class=\"mark\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>", axis.at(mean));
        }
        body.push_str("</g>");
    }
    svg(title, &words, bottom + 42.0, &body)
}

/// Lines over numbers or over words.
pub(super) fn lines(title: &str, up: &str, across: &Across, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (left, top, bottom) = (52.0, 24.0, 190.0);
    let vertical = Axis::new(all().flat_map(|(_, i)| [i.low, i.mean, i.high]), bottom, top);
    let horizontal = Axis::new(all().map(|(x, _)| *x), left, RIGHT);
    let mut body = String::new();
    text(&mut body, (4.0, 13.0), "start", up);
    for (value, words) in vertical.ticks() {
        stroke(&mut body, "grid", (left, vertical.at(value)), (RIGHT, vertical.at(value)));
        text(&mut body, (left - 6.0, vertical.at(value) + 4.5), "end", &words);
    }
    let unit = match across {
        Across::Numbers(unit) => {
            for (value, words) in horizontal.ticks() {
                text(&mut body, (horizontal.at(value), bottom + 17.0), "middle", &words);
            }
            unit
        }
        Across::Words(unit, places) => {
            let room = 330 / (7 * places.len().max(1));
            for (n, word) in places.iter().enumerate() {
                text(&mut body, (horizontal.at(n as f64), bottom + 17.0), "middle", &shortened(word, room.max(3)));
            }
            unit
        }
    };
    text(&mut body, ((left + RIGHT) / 2.0, bottom + 36.0), "middle", unit);
    stroke(&mut body, "axis", (left, bottom), (RIGHT, bottom));
    let mut words = String::new();
    for (n, line) in lines.iter().enumerate() {
        // Beside each other, so that no interval hides another.
        let aside = if matches!(across, Across::Words(..)) { 6.0 * n as f64 } else { 0.0 };
        let at = |(x, i): &(f64, Interval)| (horizontal.at(*x) + aside, vertical.at(i.mean));
        let finite: Vec<_> = line.points.iter().filter(|(_, i)| i.mean.is_finite()).collect();
        let path: Vec<String> = finite.iter().map(|point| at(point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let ends = finite.first().zip(finite.last());
        let ends = ends.map(|(a, b)| format!("from {:.4} to {:.4}", a.1.mean, b.1.mean)).unwrap_or_default();
        let _ = write!(words, "{} {ends}. ", line.title);
        let _ = write!(body, "<g class=\"{}\"><title>{}</title>", line.class, escaped(&line.title));
        for (point, interval) in finite.iter().map(|point| (at(point), point.1)) {
            if interval.high > interval.low {
                let (x, ends) = (point.0, [interval.low, interval.high].map(|end| vertical.at(end)));
                stroke(&mut body, "whisker", (x, ends[0]), (x, ends[1]));
            }
        }
        let _ = write!(body, "<polyline class=\"line\" points=\"{}\"/>", path.join(" "));
        for (x, y) in finite.iter().map(|point| at(point)).filter(|_| finite.len() <= 12) {
            let _ = write!(body, "<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
        body.push_str("</g>");
    }
    svg(title, &words, bottom + 44.0, &body)
}

/// How many values lie in each stretch of a range that is symmetric around zero.
pub(super) fn histogram(title: &str, unit: &str, values: &[f64]) -> String {
    const BINS: usize = 20;
    let (left, top, bottom) = (52.0, 24.0, 150.0);
    let reach = values.iter().fold(0.0_f64, |reach, value| reach.max(value.abs())).max(1e-9);
    let mut counts = [0usize; BINS];
    for value in values {
        counts[(((value / reach + 1.0) / 2.0 * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let most = *counts.iter().max().unwrap_or(&1).max(&1) as f64;
    let vertical = Axis { low: 0.0, high: most, from: bottom, to: top };
    let horizontal = Axis { low: -reach, high: reach, from: left, to: RIGHT };
    let mut body = String::new();
    text(&mut body, (4.0, 13.0), "start", "users");
    for (value, words) in vertical.ticks().into_iter().filter(|(value, _)| value.fract() == 0.0) {
        stroke(&mut body, "grid", (left, vertical.at(value)), (RIGHT, vertical.at(value)));
        text(&mut body, (left - 6.0, vertical.at(value) + 4.5), "end", &words);
    }
    let width = (RIGHT - left) / BINS as f64;
    for (n, count) in counts.iter().enumerate() {
        let class = if n < BINS / 2 { "worse" } else { "better" };
        let (x, y) = (left + width * n as f64, vertical.at(*count as f64));
        let range = (n as f64 / BINS as f64 * 2.0 - 1.0) * reach;
        let _ = write!(
            body,
            "<g class=\"{class}\"><rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{count} users from {range:+.3} to {:+.3}</title></rect></g>",
            x + 1.0,
            width - 2.0,
            bottom - y,
            range + 2.0 * reach / BINS as f64
        );
    }
    for (value, words) in horizontal.ticks() {
        text(&mut body, (horizontal.at(value), bottom + 17.0), "middle", &words);
    }
    stroke(&mut body, "axis", (left, bottom), (RIGHT, bottom));
    stroke(&mut body, "axis", (horizontal.at(0.0), top), (horizontal.at(0.0), bottom));
    text(&mut body, ((left + RIGHT) / 2.0, bottom + 36.0), "middle", unit);
    let below = values.iter().filter(|value| **value < 0.0).count();
    let words = format!("{} users have more, {below} have less", values.len() - below);
    svg(title, &words, bottom + 44.0, &body)
}

/// The first characters of what would not fit.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(mean: f64) -> Interval {
        Interval { mean, low: mean, high: mean, n: 1 }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis { low: -0.013, high: 0.052, from: 0.0, to: 100.0 };
        let words: Vec<String> = axis.ticks().into_iter().map(|(_, words)| words).collect();
        assert_eq!(words, ["0.00", "0.02", "0.04"]);
        assert_eq!(axis.at(-0.013), 0.0);
        assert_eq!(axis.at(0.052), 100.0);
    }

    #[test]
    fn nothing_and_not_a_number_are_drawn_without_harm() {
        for points in [vec![], vec![(0.0, exact(f64::NAN))], vec![(1.0, exact(0.5))]] {
            let line = Line { title: "<a>".into(), class: "one", points };
            let drawn = lines("t", "y", &Across::Numbers("x".into()), &[line]);
            assert!(!drawn.contains("NaN,") && !drawn.contains("inf") && drawn.contains("&lt;a&gt;"), "{drawn}");
        }
        assert!(histogram("t", "x", &[]).contains("0 users have more"));
        assert!(intervals("t", "x", &[("\"&".into(), exact(0.0), "same")], true).contains("&quot;&amp;"));
    }
}
