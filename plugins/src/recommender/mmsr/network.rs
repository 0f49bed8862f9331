//! The graph of a history and the network over it.

use super::Mmsr;
use crate::nn::linear::{embedding, linear, projection};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::activation::{leaky_relu, relu, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use framework::noise::Noise;
use framework::rng::Rng;
use framework::sequences::{self, Batch};
use framework::training::SequenceModel;

/// Items, texts and pictures, in this order.
const KINDS: usize = 3;

/// The graphs of a batch of histories. A node has a place at each interaction that it belongs to; all its places are
/// alike, and the first stands for it where others look at it. Padding and what is missing has no node.
struct Graph {
    /// One where two places have the same node, `[KINDS * batch, length, length]`.
    alike: Tensor<3>,
    /// One where the second place's node is the first one's itself, comes next to it, comes before it, or does both,
    /// `[KINDS * batch, length, length]` each.
    relations: [Tensor<3>; 4],
    /// One where a node of any kind shares an interaction with an item, or is it, `[batch, length, KINDS * length]`.
    links: Tensor<3>,
}

impl Graph {
    /// `nodes` `[batch, length]` are the items, texts' codes and pictures' codes of histories; `missing` says which
    /// number of each kind is no node.
    fn new(nodes: [Tensor<2, Int>; KINDS], missing: [usize; KINDS]) -> Self {
        let ([batch, length], device) = (nodes[0].dims(), nodes[0].device());
        let (rows, square) = (KINDS * batch, [KINDS * batch, length, length]);
        let there = |(nodes, missing): (&Tensor<2, Int>, usize)| nodes.clone().not_equal_elem(missing as i64).float();
        let there: Vec<Tensor<2>> = nodes.iter().zip(missing).map(there).collect();
        let there = Tensor::stack::<3>(there, 1).reshape([rows, length, 1]);
        let nodes = Tensor::stack::<3>(nodes.to_vec(), 1);
        let across = nodes.clone().reshape([rows, 1, length]).expand(square);
        let alike = nodes.reshape([rows, length, 1]).expand(square).equal(across).float() * there.clone();
        let earlier = alike.clone().tril(-1).sum_dim(2);
        let first = (earlier.equal_elem(0.0).float() * there).reshape([rows, 1, length]);

        // A node comes next to another if it does so at any of their places.
        let follows = (0..length * length).map(|n| f32::from(u8::from(n % length == n / length + 1))).collect();
        let follows = Tensor::<2>::from_data(TensorData::new(follows, [length, length]), &device);
        let next = alike.clone().reshape([rows * length, length]).matmul(follows).reshape(square);
        let next = next.matmul(alike.clone()).greater_elem(0.0).float() * (-alike.clone() + 1.0);
        let previous = next.clone().swap_dims(1, 2);
        let both = next.clone() * previous.clone();
        let relations = [alike.clone(), next - both.clone(), previous - both.clone(), both];

        let all = alike.clone().reshape([batch, KINDS * length, length]);
        let links = all.clone().narrow(1, 0, length).matmul(all.swap_dims(1, 2)).greater_elem(0.0).float();
        Self {
            alike,
            relations: relations.map(|relation| relation * first.clone()),
            links: links * first.reshape([batch, 1, KINDS * length]),
        }
    }
}

/// The network: embeddings of nodes, two kinds of attention in both orders, a gate.
#[derive(Module, Debug)]
pub(super) struct Network {
    /// The codes of each item's text and picture, `[items + 1, 2]`; the padding's, the last, are missing. No parameter.
    codes: Tensor<2, Int>,
    /// `[items + 1, hidden]`; the last row is the padding's.
    items: Embedding,
    /// `[codes + 1, hidden]`; the last row is for what is missing.
    modalities: Embedding,
    /// `[KINDS, hidden]`.
    kinds: Embedding,
    /// `[max_seq_length, hidden]`; the last row is the most recent interaction's.
    positions: Embedding,
    /// `[3 * hidden, hidden]`: of an embedding, a kind and a position.
    input: Linear,
    /// What each relation compares contents by, `[4, hidden]`.
    relations: Embedding,
    /// Of items, `[hidden, hidden]`; only they look across kinds.
    query: Linear,
    /// For each kind `[hidden, hidden]`.
    key: Vec<Linear>,
    /// For each kind `[hidden, hidden]`.
    value: Vec<Linear>,
    gate: Linear,
    /// `[hidden, 1]`.
    gate_output: Linear,
    dropout: f64,
    attention_dropout: f64,
    prefixes: usize,
}

impl Network {
    /// For items with these `codes`, as in the field.
    pub(super) fn new(settings: &Mmsr, codes: Tensor<2, Int>) -> Self {
        let Mmsr { hidden_size: hidden, clusters, dropout, attention_dropout, prefixes, .. } = *settings;
        let ([rows, _], device) = (codes.dims(), codes.device());
        let square = || projection(hidden, hidden, &device);
        Self {
            codes,
            items: embedding(rows, hidden, &device),
            modalities: embedding(2 * clusters + 1, hidden, &device),
            kinds: embedding(KINDS, hidden, &device),
            positions: embedding(settings.max_seq_length, hidden, &device),
            input: projection(3 * hidden, hidden, &device),
            relations: embedding(4, hidden, &device),
            query: square(),
            key: (0..KINDS).map(|_| square()).collect(),
            value: (0..KINDS).map(|_| square()).collect(),
            gate: linear(hidden, hidden, &device),
            gate_output: linear(hidden, 1, &device),
            dropout,
            attention_dropout,
            prefixes,
        }
    }

    /// The items of histories, the codes of their texts and those of their pictures, `[batch, length]` each.
    fn nodes(&self, histories: Tensor<2, Int>) -> [Tensor<2, Int>; KINDS] {
        let [batch, length] = histories.dims();
        let codes = self.codes.clone().select(0, histories.clone().reshape([batch * length]));
        let of = |kind: usize| codes.clone().narrow(1, kind, 1).reshape([batch, length]);
        [histories, of(0), of(1)]
    }

    /// What nodes start from, `[batch, KINDS * length, hidden]`.
    fn read(&self, nodes: [Tensor<2, Int>; KINDS], graph: &Graph) -> Tensor<3> {
        let ([batch, length], [last, hidden]) = (nodes[0].dims(), self.positions.weight.dims());
        let [items, texts, pictures] = nodes;
        let nodes = [self.items.forward(items), self.modalities.forward(texts), self.modalities.forward(pictures)];
        let all = [batch, KINDS * length, hidden];
        let kinds = self.kinds.weight.val().reshape([1, KINDS, 1, hidden]);
        let kinds = kinds.expand([batch, KINDS, length, hidden]).reshape(all);
        // The mean over the places of a node.
        let places = graph.alike.clone() / graph.alike.clone().sum_dim(2).clamp_min(1.0);
        let positions = self.positions.weight.val().narrow(0, last - length, length);
        let positions = places.reshape([KINDS * batch * length, length]).matmul(positions).reshape(all);
        self.input.forward(Tensor::cat(vec![Tensor::cat(nodes.to_vec(), 1), kinds, positions], 2))
    }

    /// The weights of nodes `y` for nodes `x` of the same kind: how well their contents agree, by each relation.
    ///
    /// `x` `[rows, n, hidden]`, `y` `[rows, m, hidden]`, `relations` `[rows, n, m]`; the result is `[rows, n, m]`.
    fn within(&self, x: &Tensor<3>, y: Tensor<3>, relations: [Tensor<3>; 4], noise: &mut Noise) -> Tensor<3> {
        let zeros = relations[0].zeros_like();
        let (y, start) = (y.swap_dims(1, 2), (zeros.clone(), zeros));
        let (scores, visible) = relations.into_iter().enumerate().fold(start, |(scores, visible), (n, relation)| {
            let weight = self.relations.weight.val().narrow(0, n, 1).unsqueeze::<3>();
            let agreement = (x.clone() * weight).matmul(y.clone());
            (scores + agreement * relation.clone(), visible + relation)
        });
        self.weights(scores, visible, noise)
    }

    /// The weights of nodes of all kinds `y` `[batch, m, hidden]` for items `x` `[batch, n, hidden]`, `[batch, n, m]`.
    fn across(&self, x: Tensor<3>, y: Tensor<3>, links: Tensor<3>, noise: &mut Noise) -> Tensor<3> {
        let scores = self.query.forward(x).matmul(by_kind(&self.key, y).swap_dims(1, 2));
        self.weights(scores, links, noise)
    }

    fn weights(&self, scores: Tensor<3>, visible: Tensor<3>, noise: &mut Noise) -> Tensor<3> {
        let scores = leaky_relu(scores, 0.1) + (visible - 1.0) * 1e9;
        noise.dropout(softmax(scores, 2), self.attention_dropout)
    }

    /// How much speaks for a state, `[batch, 1, 1]`.
    fn gate(&self, state: Tensor<3>) -> Tensor<3> {
        self.gate_output.forward(relu(self.gate.forward(state)))
    }
}

/// `x` `[batch, KINDS * length, hidden]`, each kind through a map of its own.
fn by_kind(maps: &[Linear], x: Tensor<3>) -> Tensor<3> {
    let length = x.dims()[1] / KINDS;
    let map = |(kind, map): (usize, &Linear)| map.forward(x.clone().narrow(1, kind * length, length));
    Tensor::cat(maps.iter().enumerate().map(map).collect(), 1)
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.positions.weight.dims()[0]
    }

    /// The state after a history alone, `[batch, 1, hidden]`: every prefix is a graph of its own.
    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let ([batch, length], [rows, hidden]) = (histories.dims(), self.items.weight.dims());
        let missing = self.modalities.weight.dims()[0] - 1;
        let nodes = self.nodes(histories);
        let graph = Graph::new(nodes.clone(), [rows - 1, missing, missing]);
        let x = self.read(nodes, &graph);
        let value = by_kind(&self.value, x.clone());
        let items = |x: &Tensor<3>| x.clone().narrow(1, 0, length);
        let last = |x: &Tensor<3>| x.clone().narrow(1, length - 1, 1);

        // The first phase: along the sequence of each kind, or from items to other kinds.
        let apart = value.clone().reshape([KINDS * batch, length, hidden]);
        let weights = self.within(&apart, apart.clone(), graph.relations.clone(), noise);
        let along = weights.matmul(apart).reshape([batch, KINDS * length, hidden]);
        let mixed = self.across(items(&x), x, graph.links.clone(), noise).matmul(value.clone());

        // The second, of the last item alone: what comes from the first decides where it looks, not what it sees.
        let links = last(&graph.links);
        let late = self.across(last(&along), along, links, noise).matmul(value.clone());
        let near = graph.relations.map(|relation| last(&relation.reshape([batch, KINDS * length, length])));
        let early = self.within(&last(&mixed), mixed, near, noise).matmul(items(&value));
        let gate = sigmoid(self.gate(late.clone()) - self.gate(early.clone()));
        noise.dropout(early.clone() + (late - early) * gate, self.dropout)
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }

    fn batch(&self, rows: &[&[u32]], padding: usize, rng: &mut Rng, device: &Device) -> Batch {
        let (mut prefixes, mut targets): (Vec<&[u32]>, Vec<i64>) = (Vec::new(), Vec::new());
        for row in rows {
            let mut lengths: Vec<usize> = (1..row.len()).collect();
            rng.shuffle(&mut lengths);
            for length in lengths.into_iter().take(self.prefixes) {
                prefixes.push(&row[..length]);
                targets.push(i64::from(row[length]));
            }
        }
        let shape = [targets.len()];
        Batch {
            histories: sequences::pad(&prefixes, padding, device),
            positions: None,
            targets: Tensor::from_data(TensorData::new(targets, shape), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, Mmsr, Network};
    use crate::fixture::states;
    use burn::tensor::{Device, Int, Tensor};
    use framework::parameters;
    use framework::plugin::defaults;
    use framework::rng::Rng;
    use framework::training::SequenceModel;

    fn settings(prefixes: usize) -> Mmsr {
        Mmsr { hidden_size: 8, clusters: 2, prefixes, ..defaults() }
    }

    /// For nine items, of which every third has no picture; `code` is the first one's text.
    fn network(prefixes: usize, code: i32) -> Network {
        let mut codes = [[0, 2], [1, 3], [0, 4], [1, 2], [1, 3], [0, 4], [0, 2], [1, 3], [1, 4], [4, 4]];
        codes[0][0] = code;
        let network = Network::new(&settings(prefixes), Tensor::<2, Int>::from_ints(codes, &Device::flex()));
        parameters::initialize(network, &Rng::new(1, "test"))
    }

    fn rows<const N: usize>(tensor: Tensor<3>) -> Vec<[f32; N]> {
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("floats");
        values.as_chunks::<N>().0.to_vec()
    }

    #[test]
    fn a_graph_by_hand() {
        let device = Device::flex();
        // Item 4, item 5, item 4 again; the first text twice, then another; the same picture before and after none.
        let nodes = [[4, 5, 4], [0, 0, 1], [2, 9, 2]].map(|row| Tensor::<2, Int>::from_ints([row], &device));
        let Graph { alike, relations, links } = Graph::new(nodes, [9, 9, 9]);
        let [itself, next, previous, both] = relations.map(rows::<3>);
        let (none, first, second, third) = ([0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]);
        let twice = [1.0, 0.0, 1.0];
        let texts = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], third];
        assert_eq!(rows::<3>(alike), [[twice, second, twice], texts, [twice, none, twice]].concat());
        assert_eq!(itself, [first, second, first, first, first, third, first, none, first]);
        assert_eq!(next, [none, none, none, third, third, none, none, none, none]);
        assert_eq!(previous, [none, none, none, none, none, first, none, none, none]);
        assert_eq!(both, [second, first, second, none, none, none, none, none, none]);
        let (four, five) = ([first, twice, first].concat(), [second, first, none].concat());
        let links: Vec<Vec<f32>> = rows::<9>(links).iter().map(|row| row.to_vec()).collect();
        assert_eq!(links, [four.clone(), five, four]);
    }

    #[test]
    fn padding_does_not_change_a_state() {
        let network = network(1, 0);
        let (alone, padded) = (states(&network, &[1, 2, 3, 2]), states(&network, &[9, 9, 1, 2, 3, 2]));
        assert_eq!((alone.len(), padded.len()), (1, 1));
        assert!(alone[0].iter().zip(&padded[0]).all(|(a, b)| (a - b).abs() < 1e-5), "{alone:?} but {padded:?}");
        assert!(states(&network, &[9]).concat().iter().all(|value| value.is_finite()), "nothing is known of a user");
    }

    #[test]
    fn order_and_codes_change_a_state() {
        let state = |code: i32, items: &[i64]| states(&network(1, code), items);
        assert_eq!(state(0, &[2, 3, 0]), state(0, &[2, 3, 0]));
        assert_ne!(state(0, &[2, 3, 0]), state(0, &[3, 2, 0]));
        assert_ne!(state(0, &[2, 3, 0]), state(1, &[2, 3, 0]));
        assert_ne!(state(0, &[2, 3, 0]), state(4, &[2, 3, 0]));
    }

    #[test]
    fn a_step_learns_from_prefixes() {
        let drawn = |prefixes: usize| {
            let batch = network(prefixes, 0);
            let batch = batch.batch(&[&[1, 2, 3], &[4, 5]], 9, &mut Rng::new(1, "test"), &Device::flex());
            let histories: Vec<i64> = batch.histories.into_data().iter::<i64>().collect();
            let targets: Vec<i64> = batch.targets.into_data().iter::<i64>().collect();
            assert!(batch.positions.is_none());
            let width = histories.len() / targets.len();
            let rows = histories.chunks(width).map(|row| row.iter().filter(|item| **item != 9).copied().collect());
            let mut pairs: Vec<(Vec<i64>, i64)> = rows.zip(targets).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(drawn(8), [(vec![1], 2), (vec![1, 2], 3), (vec![4], 5)]);
        assert_eq!(drawn(1).len(), 2);
    }
}
