//! Factors of users and items, and of users and what items look like.

use crate::baskets::baskets;
use crate::descent::{self, Descent, Pairwise, Step};
use crate::factors::{Choice, Factors, choices};
use crate::nn::features::Features;
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::Result;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::{Embeddings, Query, Recommender, Scorer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

framework::plugin! {
    /// Visual Bayesian personalized ranking: matrix factorization that also knows a user's taste in what items look
    /// like, `score(u, i) = <factors of u, factors of i> + bias(i) + <taste of u, E f(i)> + <b, f(i)>`.
    ///
    /// He and McAuley, AAAI 2016 (arXiv 1510.01784): f(i) are the item's features, which do not change; E, which maps
    /// them to a few dimensions, the users' tastes and b are learned together with the rest by BPR, as in `bpr_mf`.
    /// The paper's bias of the user and its constant cancel where items are ranked for one user. E is not penalized, as
    /// in the paper's experiments; all else has one regularization where the paper allows several. The sizes are the
    /// paper's. Features may be of any kind; they are multiplied by one number, so that step sizes suit them.
    ///
    /// What nobody chose in training can be found by its looks. Users are known by their index, not by their history.
    /// A step takes time in proportion to the features' width times `feature_size`; zeros cost little.
    struct Vbpr: Recommender = "vbpr" {
        /// Factors of each user and of each item (`K` in the paper).
        #[range(1..=8192)]
        hidden_size: usize = 10,
        /// Dimensions that features are mapped to, and of each user's taste (`D` in the paper).
        #[range(1..=8192)]
        feature_size: usize = 10,
        /// What is known of the items.
        features: Pick<dyn Embeddings> = Pick::named("pictures"),
        /// How it is trained: `learning_rate`, `regularization`, `max_epochs` and `patience`.
        training: Descent = defaults(),
    }
}

impl Recommender for Vbpr {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let features = Features::of(&self.features, train, cx)?;
        let baskets = baskets(train);
        let choices = choices(&baskets, train.num_items());
        let is_known =
            |choice: &Choice<1>, item: u32| baskets[choice.contexts[0] as usize].binary_search(&item).is_ok();
        let tastes = self.tastes(&features, train, cx)?;
        Ok(features.beside(descent::fit(tastes, &choices, is_known, &self.training, train, cx)?))
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let features = Features::read(folder)?;
        let tastes = self.tastes(&features, train, cx)?;
        Ok(features.beside(descent::load(tastes, folder)?))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(json!({ "features": self.features.inputs(cache)? }))
    }
}

impl Vbpr {
    fn tastes(&self, features: &Features, train: &Train, cx: &Context) -> Result<Tastes> {
        let (users, size) = (train.sequences.len(), self.feature_size);
        let (width, values) = features.values()?;
        Ok(Tastes {
            size,
            width,
            features: values.to_vec().into(),
            on_device: features.tensor(&cx.device)?,
            factors: Factors::new(self.hidden_size, [users], train.num_items(), true, |query| [Some(query.user)]),
            tastes: vec![0.0; users * size],
            map: vec![0.0; width * size],
            looks: vec![0.0; width],
        })
    }
}

/// Factors, and what is learned about features.
#[derive(Clone)]
struct Tastes {
    size: usize,
    width: usize,
    /// `[items, width]`, flat; not learned.
    features: Arc<[f32]>,
    /// The same, `[items, width]`.
    on_device: Tensor<2>,
    /// With the items' biases.
    factors: Factors<1>,
    /// `[users, size]`, flat.
    tastes: Vec<f32>,
    /// `[width, size]`, flat (the paper's E, transposed).
    map: Vec<f32>,
    /// What a feature adds to the score for everybody, `[width]`.
    looks: Vec<f32>,
}

impl Pairwise for Tastes {
    type Choice = Choice<1>;

    fn num_items(&self) -> usize {
        self.factors.num_items()
    }

    fn parts(&mut self) -> Vec<(String, usize, &mut Vec<f32>)> {
        let mut parts = self.factors.parts();
        parts.push(("tastes".to_string(), self.size, &mut self.tastes));
        parts.push(("map".to_string(), self.size, &mut self.map));
        parts.push(("looks".to_string(), 1, &mut self.looks));
        parts
    }

    /// Draws all but what is the same for all users from a normal distribution with mean 0 and deviation 0.1.
    fn initialize(&mut self, rng: &Rng) {
        self.factors.initialize(&rng.fork(0));
        for (n, values) in [&mut self.tastes, &mut self.map].into_iter().enumerate() {
            let mut rng = rng.fork(1 + n as u64);
            values.iter_mut().for_each(|value| *value = (0.1 * rng.normal()) as f32);
        }
    }

    fn step(&mut self, choice: &Choice<1>, other: u32, step: Step) -> f32 {
        let row = |n: u32, width: usize| n as usize * width..(n as usize + 1) * width;
        let [up, down] = [choice.item, other].map(|item| &self.features[row(item, self.width)]);
        let taste = &mut self.tastes[row(choice.contexts[0], self.size)];
        // The difference of both items' features, mapped, and what it adds to the score for everybody.
        let (mut mapped, mut margin) = (vec![0.0; self.size], self.factors.margin(choice, other));
        for (((a, b), map), look) in up.iter().zip(down).zip(self.map.chunks_exact(self.size)).zip(&self.looks) {
            let difference = a - b;
            if difference != 0.0 {
                margin += difference * look;
                mapped.iter_mut().zip(map).for_each(|(sum, e)| *sum += difference * e);
            }
        }
        margin += taste.iter().zip(&mapped).map(|(t, m)| t * m).sum::<f32>();
        let (slope, Step { rate, shrink }) = (descent::slope(margin), step);
        let maps = self.map.chunks_exact_mut(self.size).zip(&mut self.looks);
        for ((a, b), (map, look)) in up.iter().zip(down).zip(maps) {
            let difference = a - b;
            if difference != 0.0 {
                let climb = rate * slope * difference;
                map.iter_mut().zip(&*taste).for_each(|(e, t)| *e += climb * t);
                *look += rate * (slope * difference - shrink * *look);
            }
        }
        taste.iter_mut().zip(&mapped).for_each(|(t, m)| *t += rate * (slope * m - shrink * *t));
        self.factors.climb(choice, other, slope, step);
        descent::loss(margin)
    }
}

impl Scorer for Tastes {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let matrix = |values: Vec<f32>, columns: usize| {
            let shape = [values.len() / columns, columns];
            Tensor::<2>::from_data(TensorData::new(values, shape), &cx.device)
        };
        let taste = |query: &Query| &self.tastes[query.user as usize * self.size..][..self.size];
        let tastes: Vec<f32> = queries.iter().flat_map(taste).copied().collect();
        let mapped = self.on_device.clone().matmul(matrix(self.map.clone(), self.size));
        let looks = self.on_device.clone().matmul(matrix(self.looks.clone(), 1)).transpose();
        let scores = self.factors.score(queries, cx)?;
        Ok(scores + matrix(tastes, self.size).matmul(mapped.transpose()) + looks)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        descent::save(self, folder)
    }
}

#[cfg(test)]
mod tests {
    use super::{Tastes, Vbpr};
    use crate::descent::{self, Descent, Pairwise, Step};
    use crate::factors::{Choice, Factors, choices};
    use crate::fixture::{context, train};
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::context::Context;
    use framework::plugin::{Pick, defaults};
    use framework::protocol::Train;
    use framework::rng::Rng;
    use framework::roles::{Query, Recommender, Scorer};

    /// Of `users` users and items with these features, a row each; two dimensions of taste, two factors.
    fn tastes(users: usize, features: &[[f32; 2]]) -> Tastes {
        let (size, num_items) = (2, features.len());
        let values = features.as_flattened().to_vec();
        let on_device = TensorData::new(values.clone(), [num_items, 2]);
        Tastes {
            size,
            width: 2,
            features: values.into(),
            on_device: Tensor::from_data(on_device, &Device::flex()),
            factors: Factors::new(2, [users], num_items, true, |query| [Some(query.user)]),
            tastes: vec![0.0; users * size],
            map: vec![0.0; 2 * size],
            looks: vec![0.0; 2],
        }
    }

    /// Half of the users chose three of the first four items, the others three of the last four. The fourth of each
    /// kind, which nobody chose in training, is right for them in validation; their features are the kind.
    fn two_kinds() -> (Train, Vec<[f32; 2]>) {
        let chosen = |user: u32| (0..4).map(|n| user % 2 * 4 + n).collect();
        let users: Vec<Vec<u32>> = (0..40).map(chosen).collect();
        let mut train = train(8, &users.iter().map(Vec::as_slice).collect::<Vec<_>>());
        train.validation.mask_seen = true;
        (train, (0..8).map(|item| if item < 4 { [1.0, 0.0] } else { [0.0, 1.0] }).collect())
    }

    fn vbpr(max_epochs: usize) -> Vbpr {
        let training = Descent { max_epochs, ..defaults() };
        Vbpr { hidden_size: 4, feature_size: 3, features: Pick::named("title_words"), training }
    }

    #[test]
    fn a_step_follows_the_gradient() {
        let mut model = tastes(1, &[[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]]);
        model.initialize(&Rng::new(1, "test"));
        model.looks.copy_from_slice(&[0.2, -0.3]);
        let choice = Choice { contexts: [0], item: 1 };
        let still = Step { rate: 0.0, shrink: 0.0 };
        let mut stepped = model.clone();
        let before = f64::from(stepped.step(&choice, 0, Step { rate: 1.0, shrink: 0.0 }));
        let values = |model: &Tastes| -> Vec<Vec<f32>> {
            model.clone().parts().into_iter().map(|(_, _, values)| values.clone()).collect()
        };
        for (part, (old, new)) in values(&model).iter().zip(&values(&stepped)).enumerate() {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                let mut moved = model.clone();
                moved.parts()[part].2[n] += 1e-2;
                let climb = (before - f64::from(moved.step(&choice, 0, still))) / 1e-2;
                let step = f64::from(new - old);
                assert!((climb - step).abs() < 1e-2, "part {part}, number {n}: {climb} but {step}");
            }
        }
    }

    #[test]
    fn scores_add_up_what_users_like_and_what_looks_good_to_all() {
        let (cx, _folder) = context();
        let mut model = tastes(2, &[[1.0, 0.0], [0.0, 2.0]]);
        model.tastes = vec![1.0, 0.0, 0.0, 10.0];
        model.map = vec![1.0, 2.0, 3.0, 4.0];
        model.looks = vec![0.5, 0.25];
        let queries = [0, 1].map(|user| Query { user, ..Query::default() });
        let scores = model.score(&queries, &cx).expect("scores").into_data();
        // Mapped, the features are (1, 2) and (6, 8).
        assert_eq!(scores.try_to_vec::<f32>().expect("floats"), [1.5, 6.5, 20.5, 80.5]);
    }

    #[test]
    fn what_nobody_chose_is_found_by_its_looks() {
        let hits = |of: fn(&[f32; 2]) -> [f32; 2]| {
            let ((cx, _folder), (train, features)) = (context(), two_kinds());
            let baskets = crate::baskets::baskets(&train);
            let known = |choice: &Choice<1>, item: u32| baskets[choice.contexts[0] as usize].contains(&item);
            let model = tastes(40, &features.iter().map(of).collect::<Vec<_>>());
            let settings = Descent { max_epochs: 100, patience: 100, ..defaults() };
            let scorer = descent::fit(model, &choices(&baskets, 8), known, &settings, &train, &cx).expect("it trains");
            train.validate(&*scorer, &cx).expect("it scores")
        };
        let (told, untold) = (hits(|looks| *looks), hits(|_| [0.0, 0.0]));
        assert!(told > 0.9 && untold < 0.5, "hr@1 {told}, without features {untold}");
    }

    #[test]
    fn a_checkpoint_scores_like_the_model_it_came_from() {
        let ((cx, _folder), (_elsewhere, saved), (train, _)) = (context(), context(), two_kinds());
        let model = vbpr(2);
        let fitted = model.fit(&train, &cx).expect("it trains");
        fitted.save(saved.path()).expect("it is saved");
        let loaded = model.load(saved.path(), &train, &cx).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }

    #[test]
    fn a_resumed_run_ends_with_the_same_bytes() {
        let (train, _) = two_kinds();
        let saved = |max_epochs: usize, cx: &Context| {
            vbpr(max_epochs).fit(&train, cx).expect("it trains").save(&cx.work).expect("it is saved");
            std::fs::read(cx.work.join("factors.safetensors")).expect("the checkpoint")
        };
        let ((straight, _a), (stopped, _b)) = (context(), context());
        let expected = saved(6, &straight);
        saved(3, &stopped);
        assert_eq!(saved(6, &stopped), expected);
        let losses = |cx: &Context| cx.epochs().iter().map(|epoch| epoch.loss).collect::<Vec<_>>();
        assert_eq!(losses(&stopped)[3..], losses(&straight));
    }
}
