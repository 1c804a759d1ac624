//! Taking turns: everything that is compared is measured in every round, so that what else the
//! machine does falls on all.

use std::io;
use std::time::{Duration, Instant};

use crate::stats::Summary;

/// Something that is measured.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    /// It takes its turn only every so many rounds: for what is slow.
    every: usize,
    /// One turn: a figure, in the row's unit.
    turn: Box<dyn FnMut() -> io::Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: &'static str,
        turn: impl FnMut() -> io::Result<f64> + 'a,
    ) -> Contender<'a> {
        Contender {
            name,
            every: 1,
            turn: Box::new(turn),
        }
    }

    pub(crate) fn every(mut self, rounds: usize) -> Contender<'a> {
        self.every = rounds;
        self
    }
}

/// One contender's figures: `None` where it was not its turn.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    figures: Vec<Option<f64>>,
}

impl Series {
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(self.figures.iter().copied().flatten())
    }

    /// This one's figure over the other's, round by round.
    pub(crate) fn ratio_to(&self, other: &Series) -> Option<Summary> {
        let pairs = self.figures.iter().zip(&other.figures);
        Summary::of(pairs.filter_map(|(mine, theirs)| Some(mine.as_ref()? / theirs.as_ref()?)))
    }
}

/// Measures each contender once a round. The order changes from round to round, so that none of
/// them always comes after the same one.
pub(crate) fn take_turns(
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> io::Result<Vec<Series>> {
    let mut all: Vec<Series> = contenders
        .iter()
        .map(|c| Series {
            name: c.name,
            figures: Vec::new(),
        })
        .collect();
    let count = contenders.len();
    // A first turn that nobody counts: pages are touched, programs started, caches filled.
    for contender in &mut contenders {
        (contender.turn)().map_err(|e| named(contender.name, &e))?;
    }
    for round in 0..rounds {
        for place in 0..count {
            let at = if round % 2 == 0 {
                (round + place) % count
            } else {
                (round + count - place) % count
            };
            let contender = &mut contenders[at];
            let figure = if round % contender.every == 0 {
                Some((contender.turn)().map_err(|e| named(contender.name, &e))?)
            } else {
                None
            };
            all[at].figures.push(figure);
        }
    }
    Ok(all)
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Does it `count` times and gives the microseconds for one.
pub(crate) fn each(count: u32, mut once: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        once()?;
    }
    Ok(microseconds(start.elapsed()) / f64::from(count))
}

pub(crate) fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_takes_every_turn_that_is_theirs() {
        let mut count = 0.0;
        let contenders = vec![
            Contender::new("one", || Ok(2.0)),
            Contender::new("two", || {
                count += 1.0;
                Ok(count)
            })
            .every(3),
        ];
        let all = take_turns(7, contenders).expect("measured");
        assert_eq!(all[0].summary().expect("figures").rounds, 7);
        assert_eq!(all[1].summary().expect("figures").rounds, 3);
        // Its turns 2, 3 and 4: the first is not counted.
        assert_eq!(all[0].ratio_to(&all[1]).expect("pairs").median, 2.0 / 3.0);
    }

    #[test]
    fn a_failure_says_whose_it_is() {
        let failing = Contender::new("peer", || Err(io::Error::other("broken")));
        assert_eq!(
            take_turns(1, vec![failing]).expect_err("fails").to_string(),
            "peer: broken"
        );
    }
}
