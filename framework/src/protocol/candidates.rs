//! Which items are ranked in each case: drawn once, by the protocol's own seed, and so the same for every model.

use super::{Cases, Sequence};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::{choice, settings};
use std::collections::HashSet;

choice! {
    /// How negatives are drawn.
    pub enum Draw {
        /// All items alike.
        Uniform = "uniform",
        /// In proportion to an item's training interactions plus one.
        Popularity = "popularity",
        /// From the items next to the target in the order of training interactions, three times as many as are drawn: so
        /// that popularity alone tells nothing.
        Matched = "popularity_matched",
        /// In the test part the first of a user's list in the data, which has one for each user, whatever `avoid` says;
        /// in the validation part uniform, since plugins see that part and shall not see the test's.
        Given = "given",
    }
}

choice! {
    /// Which items are no negatives of a user.
    pub enum Avoid {
        /// All that the user ever interacted with.
        Interacted = "interacted",
        /// Only those of the history that a recommender may see, as LLaRA does (Liao et al., SIGIR 2024).
        History = "history",
    }
}

settings! {
    /// Which items are ranked for a case, the same for every model and seed.
    pub struct Candidates {
        /// Items besides the target; 0 ranks the whole catalogue. Metrics then carry the number of candidates in their
        /// name: `hr@1|c21`.
        #[range(0..=1_000_000)]
        pub negatives: usize = 0,
        /// How negatives are drawn.
        pub draw: Draw = Draw::Uniform,
        /// Which items are never drawn.
        pub avoid: Avoid = Avoid::Interacted,
        /// Validation cases and test cases that are evaluated at most, of the same users where both parts have the same;
        /// 0 evaluates all.
        #[range(0..=100_000_000)]
        pub cases: usize = 0,
        /// What cases and negatives are drawn with.
        pub seed: u64 = 1,
    }
    check |settings, report| {
        if settings.negatives == 0 && settings.draw != Draw::Uniform {
            report.conflict("draw", "without `negatives` the whole catalogue is ranked", "negatives = 20");
        }
    }
}

/// What candidates are drawn from.
pub(super) struct Drawing<'a> {
    /// All interactions of each user.
    pub(super) whole: &'a [Sequence],
    /// How often each item occurs in training.
    pub(super) trained: &'a [u32],
    /// The lists that come with the data.
    pub(super) given: Option<&'a [Vec<u32>]>,
    /// Whether both parts had cases of the same users, before any were left out.
    pub(super) same_users: bool,
    /// The users' own ids, for messages.
    pub(super) users: &'a [String],
}

/// Draws the cases that are evaluated and what is ranked in each.
pub(super) fn choose(settings: &Candidates, [validation, test]: [&mut Cases; 2], from: &Drawing) -> Result<()> {
    let Drawing { whole, trained, given, same_users: same, users: names } = *from;
    let rng = Rng::new(settings.seed, "candidates");
    let users = fewer(&test.users, settings.cases, &rng.fork(0));
    if same {
        validation.keep(&users);
    } else {
        validation.keep(&fewer(&validation.users, settings.cases, &rng.fork(3)));
    }
    test.keep(&users);
    if settings.negatives == 0 {
        return Ok(());
    }
    if settings.draw == Draw::Given {
        let lists = given.ok_or_else(|| {
            let error = Error::new("the data has no lists of candidates").at("protocol.candidates.draw");
            error.fix("a dataset with lists, as `table` with `candidates`; or another draw")
        })?;
        listed(settings, &mut *test, lists, names, &rng)?;
    }
    let pool = Pool::new(settings, trained);
    let drawn = if settings.draw == Draw::Given { 1 } else { 2 };
    for (part, cases) in [validation, test].into_iter().take(drawn).enumerate() {
        for n in 0..cases.len() {
            let (user, target) = (cases.users[n], cases.targets[n]);
            let avoided: HashSet<u32> = match settings.avoid {
                Avoid::Interacted => whole[user as usize].items.iter().copied().collect(),
                Avoid::History => cases.query(n).history.iter().copied().chain([target]).collect(),
            };
            if avoided.len() + settings.negatives > trained.len() {
                return Err(Error::new(format!(
                    "user {} knows {} of {} items, too many for {} negatives",
                    names[user as usize],
                    avoided.len(),
                    trained.len(),
                    settings.negatives
                ))
                .at("protocol.candidates.negatives")
                .fix("fewer negatives"));
            }
            let mut rng = rng.fork(1 + part as u64).fork(u64::from(user));
            let mut drawn = vec![target];
            pool.draw(&mut drawn, settings.negatives, &avoided, &mut rng);
            rng.shuffle(&mut drawn);
            cases.candidates.push(drawn);
        }
    }
    Ok(())
}

/// Takes each user's negatives from their list.
fn listed(settings: &Candidates, cases: &mut Cases, lists: &[Vec<u32>], names: &[String], rng: &Rng) -> Result<()> {
    for n in 0..cases.len() {
        let (user, target) = (cases.users[n], cases.targets[n]);
        let mut chosen = vec![target];
        for item in &lists[user as usize] {
            if chosen.len() <= settings.negatives && !chosen.contains(item) {
                chosen.push(*item);
            }
        }
        if chosen.len() <= settings.negatives {
            let found = chosen.len() - 1;
            let what = format!(
                "the list of user {} has {found} items besides the target, fewer than {}",
                names[user as usize], settings.negatives
            );
            return Err(Error::new(what).at("protocol.candidates.negatives").fix("fewer negatives, or longer lists"));
        }
        rng.fork(4).fork(u64::from(user)).shuffle(&mut chosen);
        cases.candidates.push(chosen);
    }
    Ok(())
}

/// At most `cases` of the users, in order; all of them for 0.
fn fewer(users: &[u32], cases: usize, rng: &Rng) -> Vec<u32> {
    let mut users = users.to_vec();
    if cases > 0 && cases < users.len() {
        rng.clone().shuffle(&mut users);
        users.truncate(cases);
        users.sort_unstable();
    }
    users
}

/// The catalogue as negatives are drawn from it.
struct Pool {
    draw: Draw,
    /// Running sums of the items' weights, for `popularity`.
    sums: Vec<u64>,
    /// Items from the most to the least popular, and the place of each, for `popularity_matched`.
    order: Vec<u32>,
    place: Vec<u32>,
}

impl Pool {
    fn new(settings: &Candidates, trained: &[u32]) -> Self {
        let sums = trained.iter().scan(0u64, |sum, count| {
            *sum += u64::from(*count) + 1;
            Some(*sum)
        });
        let mut order: Vec<u32> = (0..trained.len() as u32).collect();
        order.sort_by_key(|item| (std::cmp::Reverse(trained[*item as usize]), *item));
        let mut place = vec![0; trained.len()];
        order.iter().enumerate().for_each(|(n, item)| place[*item as usize] = n as u32);
        Self { draw: settings.draw, sums: sums.collect(), order, place }
    }

    /// Adds `count` items to the target, none twice and none of `avoided`, which leaves at least as many.
    fn draw(&self, drawn: &mut Vec<u32>, count: usize, avoided: &HashSet<u32>, rng: &mut Rng) {
        if self.draw == Draw::Matched {
            let mut near = self.near(drawn[0], count.saturating_mul(NEAR), avoided);
            rng.shuffle(&mut near);
            drawn.extend(near.into_iter().take(count));
            return;
        }
        while drawn.len() <= count {
            let item = match self.draw {
                Draw::Popularity => {
                    let at = rng.below(self.sums.last().copied().unwrap_or(1) as usize) as u64;
                    self.sums.partition_point(|sum| *sum <= at) as u32
                }
                _ => rng.below(self.order.len()) as u32,
            };
            if !avoided.contains(&item) && !drawn.contains(&item) {
                drawn.push(item);
            }
        }
    }

    /// The `count` items next to the target in the order of popularity, or as many as there are.
    fn near(&self, target: u32, count: usize, avoided: &HashSet<u32>) -> Vec<u32> {
        let place = self.place[target as usize] as usize;
        let (mut above, mut below) = (self.order[..place].iter().rev(), self.order[place + 1..].iter());
        let mut near = Vec::new();
        loop {
            let pair = [above.next(), below.next()];
            if near.len() >= count || pair == [None, None] {
                return near;
            }
            near.extend(pair.into_iter().flatten().filter(|item| !avoided.contains(item)));
        }
    }
}

/// Matched negatives are drawn from this many times as many neighbours in the order of popularity.
const NEAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::defaults;

    fn cases(targets: &[u32]) -> Cases {
        Cases {
            users: (0..targets.len() as u32).collect(),
            histories: targets.iter().map(|_| vec![1, 2]).collect(),
            targets: targets.to_vec(),
            max_history: 1,
            ..Cases::default()
        }
    }

    fn drawn(settings: Candidates, trained: &[u32], targets: &[u32]) -> Vec<Vec<u32>> {
        let whole: Vec<Sequence> =
            targets.iter().map(|target| Sequence { items: vec![1, 2, *target], timestamps: vec![0, 1, 2] }).collect();
        let (mut validation, mut test) = (cases(targets), cases(targets));
        let names: Vec<String> = (0..targets.len()).map(|user| user.to_string()).collect();
        let from = Drawing { whole: &whole, trained, given: None, same_users: true, users: &names };
        choose(&settings, [&mut validation, &mut test], &from).expect("negatives");
        assert_ne!(validation.candidates, test.candidates, "each part has draws of its own");
        test.candidates
    }

    #[test]
    fn a_set_has_the_target_once_and_nothing_that_the_user_knows() {
        for draw in [Draw::Uniform, Draw::Popularity, Draw::Matched] {
            let settings = Candidates { negatives: 6, draw, ..defaults() };
            for set in drawn(settings, &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0], &[5; 50]) {
                assert_eq!(set.len(), 7);
                assert_eq!(set.iter().collect::<HashSet<_>>().len(), 7);
                assert!(set.contains(&5) && !set.contains(&1) && !set.contains(&2), "{set:?}");
            }
        }
    }

    #[test]
    fn given_lists_are_taken_in_their_order_without_the_target() {
        let settings = Candidates { negatives: 2, draw: Draw::Given, ..defaults() };
        let chosen = |lists: &[Vec<u32>]| -> Result<Vec<Vec<u32>>> {
            let (mut validation, mut test) = (cases(&[5, 6]), cases(&[5, 6]));
            let whole = [1, 2].map(|item| Sequence { items: vec![item], timestamps: vec![0] });
            let names = ["0", "1"].map(String::from);
            let from = Drawing { whole: &whole, trained: &[0; 9], given: Some(lists), same_users: true, users: &names };
            choose(&settings, [&mut validation, &mut test], &from)?;
            assert!(validation.candidates.iter().all(|set| set.len() == 3) && validation.candidates != test.candidates);
            Ok(test.candidates)
        };
        let mut sets = chosen(&[vec![7, 5, 3, 8], vec![0, 0, 1]]).expect("long enough");
        sets.iter_mut().for_each(|set| set.sort_unstable());
        assert_eq!(sets, [[3, 5, 7], [0, 1, 6]]);
        let error = chosen(&[vec![7, 5, 3], vec![0, 0]]).expect_err("too short").to_string();
        assert!(error.contains("the list of user 1 has 1 items besides the target, fewer than 2"), "{error}");
    }

    #[test]
    fn beyond_the_window_what_is_known_can_be_drawn() {
        let settings = |avoid| Candidates { negatives: 2, avoid, ..defaults() };
        let known = |avoid| drawn(settings(avoid), &[1; 5], &[0; 40]).iter().flatten().any(|item| *item == 1);
        assert!(known(Avoid::History) && !known(Avoid::Interacted));
    }

    #[test]
    fn popular_items_are_drawn_in_proportion_and_matched_ones_are_near() {
        let mut trained = vec![0; 100];
        trained[10] = 99;
        let settings = |draw| Candidates { negatives: 1, draw, ..defaults() };
        let sets = drawn(settings(Draw::Popularity), &trained, &[50; 400]);
        // Weight 100 of 197 that can be drawn.
        let share = sets.iter().filter(|set| set.contains(&10)).count() as f64 / 400.0;
        assert!((share - 100.0 / 196.0).abs() < 0.08, "{share}");
        let trained: Vec<u32> = (0..100).collect();
        for set in drawn(settings(Draw::Matched), &trained, &[50; 50]) {
            assert!(set.iter().all(|item| item.abs_diff(50) <= 3), "{set:?}");
        }
    }
}
