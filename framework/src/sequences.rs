//! Users' sequences as the rectangular batches that a network reads.

use crate::host;
use crate::protocol::Sequence;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Every user's sequence in stretches of `length` to read and one more to predict, cut from the most recent end.
///
/// Stretches overlap by one item, so that each interaction but the first is predicted once.
pub fn windows(sequences: &[Sequence], length: usize) -> Vec<&[u32]> {
    let ends = |sequence: &Sequence| (2..=sequence.items.len()).rev().step_by(length.max(1));
    let cut = |sequence| ends(sequence).map(move |end| &sequence.items[end.saturating_sub(length + 1)..end]);
    sequences.iter().flat_map(cut).collect()
}

/// The padded positions in a batch that cost as much time as one batch more.
const BATCH_COSTS: usize = 512;

/// `rows`, shortest first, in parts that are padded together: cut in two where that saves most padding, and each part
/// again, as long as it is worth a batch of its own. On a device that is parallel itself it never is.
pub fn alike<'a, 'b>(rows: &'a [&'b [u32]], device: &Device) -> Vec<&'a [&'b [u32]]> {
    let saved = |n: usize| n * (rows[rows.len() - 1].len() - rows[n - 1].len());
    let best = (1..rows.len()).max_by_key(|n| saved(*n));
    match best.filter(|n| host::holds(device) && saved(*n) > BATCH_COSTS) {
        Some(n) => [alike(&rows[..n], device), alike(&rows[n..], device)].concat(),
        None => vec![rows],
    }
}

/// `rows` side by side `[rows, longest]`, each padded on the left with `padding`.
pub fn pad(rows: &[&[u32]], padding: usize, device: &Device) -> Tensor<2, Int> {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
    let padded = rows.iter().flat_map(|row| {
        let gap = std::iter::repeat_n(padding as i64, length - row.len());
        gap.chain(row.iter().map(|item| i64::from(*item)))
    });
    Tensor::from_data(TensorData::new(padded.collect(), [rows.len(), length]), device)
}

/// What one step learns from.
pub struct Batch {
    /// What is read, `[rows, length]`.
    pub histories: Tensor<2, Int>,
    /// The positions of the `rows * length` whose states are matched with items, `[n]`; `None` when all are.
    pub positions: Option<Tensor<1, Int>>,
    /// The right item at each of them, `[n]`.
    pub targets: Tensor<1, Int>,
}

impl Batch {
    /// A batch of `rows`, each at least two items long, where the next item is right at each position.
    pub fn new(rows: &[&[u32]], padding: usize, device: &Device) -> Self {
        let read: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
        let histories = pad(&read, padding, device);
        let [_, length] = histories.dims();
        let targets = rows.iter().flat_map(|row| &row[1..]).map(|item| i64::from(*item));
        let real = read.iter().enumerate().flat_map(|(n, row)| (n + 1) * length - row.len()..(n + 1) * length);
        let positions: Vec<i64> = real.map(|position| position as i64).collect();
        let whole = positions.len() == rows.len() * length;
        let positions = (!whole).then(|| integers(positions, device));
        Self { histories, positions, targets: integers(targets.collect(), device) }
    }

    /// A batch of whole `rows` where `mask` stands at the `places` of each, and what stood there is right.
    pub fn masked(rows: &[&[u32]], places: &[Vec<usize>], mask: u32, padding: usize, device: &Device) -> Self {
        let mut read: Vec<Vec<u32>> = rows.iter().map(|row| row.to_vec()).collect();
        let length = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (n, (row, places)) in read.iter_mut().zip(places).enumerate() {
            let start = (n + 1) * length - row.len();
            for place in places {
                positions.push((start + place) as i64);
                targets.push(i64::from(std::mem::replace(&mut row[*place], mask)));
            }
        }
        let read: Vec<&[u32]> = read.iter().map(Vec::as_slice).collect();
        let positions = Some(integers(positions, device));
        Self { histories: pad(&read, padding, device), positions, targets: integers(targets, device) }
    }
}

/// `values` as a tensor.
pub fn integers(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::{Batch, alike, windows};
    use crate::protocol::Sequence;
    use burn::tensor::Device;

    #[test]
    fn windows_predict_every_interaction_once() {
        let sequence = |items: &[u32]| Sequence { items: items.to_vec(), timestamps: Vec::new() };
        let sequences = [sequence(&[1, 2, 3, 4]), sequence(&[5]), sequence(&[6, 7])];
        assert_eq!(windows(&sequences, 2), [&[2, 3, 4][..], &[1, 2], &[6, 7]]);
    }

    #[test]
    fn a_batch_is_cut_where_that_saves_much_padding() {
        let cut = |lengths: &[usize]| {
            let rows: Vec<Vec<u32>> = lengths.iter().map(|length| vec![0; *length]).collect();
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            alike(&rows, &Device::flex()).iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[1, 1, 50]), [3]);
        assert_eq!(cut(&[vec![3; 40], vec![20; 40], vec![50; 2]].concat()), [40, 40, 2]);
    }

    #[test]
    fn a_batch_predicts_each_next_item() {
        let batch = Batch::new(&[&[1, 2, 3], &[4, 5]], 9, &Device::flex());
        let integers = |data: burn::tensor::TensorData| data.iter::<i64>().collect::<Vec<_>>();
        assert_eq!(integers(batch.histories.into_data()), [1, 2, 9, 4]);
        assert_eq!(integers(batch.positions.expect("padding").into_data()), [0, 1, 3]);
        assert_eq!(integers(batch.targets.into_data()), [2, 3, 5]);
    }

    #[test]
    fn a_masked_batch_asks_for_what_it_hides() {
        let batch = Batch::masked(&[&[1, 2, 3], &[4, 5]], &[vec![2, 0], vec![1]], 8, 9, &Device::flex());
        let integers = |data: burn::tensor::TensorData| data.iter::<i64>().collect::<Vec<_>>();
        assert_eq!(integers(batch.histories.into_data()), [8, 2, 8, 9, 4, 8]);
        assert_eq!(integers(batch.positions.expect("some").into_data()), [2, 0, 5]);
        assert_eq!(integers(batch.targets.into_data()), [3, 1, 5]);
    }
}
