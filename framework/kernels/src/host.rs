//! What pays when tensors live in main memory, and the fixed shards of a batch that keep every core busy.
//!
//! burn's CPU backend runs elementwise operations on one thread, so a batch is cut into shards that run side by side,
//! each with a graph of its own. Their number does not depend on the machine, so results do not either.

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Shards of a batch on the CPU.
const SHARDS: usize = 2;

/// Main memory, as a device.
pub fn device() -> Device {
    Device::flex()
}

/// Whether tensors of `device` live in main memory, so that reading them costs nothing.
pub fn holds(device: &Device) -> bool {
    *device == self::device()
}

/// The threads that work on the shards of a batch, a pool for each.
pub struct Shards {
    pools: Vec<ThreadPool>,
}

impl Shards {
    /// Shards for work on `device`: one where the device is parallel itself. An error when threads cannot be started.
    pub fn new(device: &Device) -> Result<Self, ThreadPoolBuildError> {
        let count = if holds(device) { SHARDS } else { 1 };
        let threads = (std::thread::available_parallelism().map_or(1, usize::from) / count).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self { pools: (0..count).map(pool).collect::<Result<_, _>>()? })
    }

    /// Cuts `rows` into shards of equal size, the first ones one longer; fewer when there are few rows.
    pub fn cut<'a, T>(&self, rows: &'a [T]) -> Vec<&'a [T]> {
        rows.chunks(rows.len().div_ceil(self.pools.len()).max(1)).collect()
    }

    /// Deals `rows` out to the shards in turn; fewer shards when there are few rows.
    pub fn deal<T: Clone>(&self, rows: &[T]) -> Vec<Vec<T>> {
        let shards = self.pools.len().min(rows.len());
        (0..shards).map(|shard| rows.iter().skip(shard).step_by(shards).cloned().collect()).collect()
    }

    /// Runs `work` on every shard at the same time; results in the shards' order.
    pub fn run<T: Send, R: Send>(&self, shards: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        let work = &work;
        std::thread::scope(|scope| {
            let running: Vec<_> = shards
                .into_iter()
                .zip(&self.pools)
                .map(|(shard, pool)| scope.spawn(move || pool.install(|| work(shard))))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, R>| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            running.into_iter().map(join).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Shards, device};

    #[test]
    fn rows_are_dealt_out_in_turn() {
        let shards = Shards::new(&device()).expect("threads");
        assert_eq!(shards.deal(&[1, 2, 3]), [vec![1, 3], vec![2]]);
        assert_eq!(shards.deal(&[1]), [[1]]);
        assert!(shards.deal::<u8>(&[]).is_empty());
    }
}
