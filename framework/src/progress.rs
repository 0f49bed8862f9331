//! Progress bars for people; silent when standard error is not a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of one process.
#[derive(Clone)]
pub struct Progress {
    bars: MultiProgress,
}

/// One bar.
pub struct Bar {
    bar: ProgressBar,
}

impl Default for Progress {
    fn default() -> Self {
        Self { bars: MultiProgress::new() }
    }
}

impl Progress {
    /// Bars that are never drawn.
    pub fn hidden() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()) }
    }

    /// A bar of `total` steps with rate and time left.
    pub fn bar(&self, what: &str, total: usize) -> Bar {
        self.styled(what, total, "{prefix:>24} {wide_bar} {pos}/{len} {per_sec} {eta} {msg}")
    }

    /// A bar of `total` bytes; 0 where that is not known.
    pub fn bytes(&self, what: &str, total: usize) -> Bar {
        self.styled(what, total, "{prefix:>24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// Prints a line above the bars.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }

    fn styled(&self, what: &str, total: usize, template: &str) -> Bar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total as u64).with_style(style).with_prefix(what.to_string());
        Bar { bar: self.bars.add(bar) }
    }
}

impl Bar {
    /// `n` more steps are done.
    pub fn advance(&self, n: usize) {
        self.bar.inc(n as u64);
    }

    /// There are `total` steps, which was not known before.
    pub fn expect(&self, total: usize) {
        self.bar.set_length(total as u64);
    }

    /// Shows `text` behind the bar: the loss, a metric.
    pub fn say(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Goes back to the start, for the next epoch.
    pub fn restart(&self) {
        self.bar.reset();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
