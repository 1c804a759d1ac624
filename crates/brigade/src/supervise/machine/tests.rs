//! The machine by itself: a world that is held in hand, and any order of what may happen.

use std::collections::BTreeMap;
use std::sync::mpsc;

use super::*;
use crate::supervise::ChildError;

const LONG: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Starting,
    Up,
    Asked,
    Killed,
}

/// What runs, and what has been done to it.
#[derive(Debug, Default)]
struct Hand {
    /// By child: its run, and what that does.
    runs: BTreeMap<u64, (u64, Is)>,
    log: Vec<String>,
    /// Launches that are to fail.
    failing: u32,
    beats: u32,
    /// Whether children are started and stopped one after the other.
    in_order: bool,
}

impl Hand {
    fn run(&self, child: u64) -> RunId {
        let number = self.runs[&child].0;
        RunId { child, number }
    }

    /// Those that do this.
    fn which(&self, is: Is) -> Vec<RunId> {
        let all = self.runs.iter().filter(|(_, run)| run.1 == is);
        all.map(|(&child, &(number, _))| RunId { child, number })
            .collect()
    }

    fn read(&mut self) -> String {
        std::mem::take(&mut self.log).join(" ")
    }
}

impl World<()> for Hand {
    fn launch(&mut self, spec: &mut Spec<()>, run: RunId) -> Result<(), Exit> {
        let before = self.runs.get(&run.child);
        assert!(before.is_none(), "it runs already: {before:?}");
        if self.in_order {
            // Only those that are told to wait for no other are up at once.
            let earlier = self.runs.range(..run.child);
            let waits = earlier.filter(|(_, run)| run.1 != Is::Up).count();
            assert_eq!(waits, 0, "{spec:?} does not wait for {:?}", self.runs);
            assert!(self.which(Is::Asked).is_empty(), "stops come first");
        }
        if self.failing > 0 {
            self.failing -= 1;
            self.log.push(format!("!{}", spec.name));
            return Err(Exit::Failed("launch".to_owned()));
        }
        let is = match spec.readiness {
            Readiness::AtOnce => Is::Up,
            Readiness::WhenItSaysSo { .. } => Is::Starting,
        };
        self.runs.insert(run.child, (run.number, is));
        self.log.push(format!("+{}", spec.name));
        Ok(())
    }

    fn ask(&mut self, run: RunId) {
        if self.in_order {
            let asked = self.which(Is::Asked);
            let later = asked.iter().any(|other| other.child > run.child);
            assert!(!later, "it waits for those after it: {asked:?}");
        }
        let (number, is) = self.runs.get_mut(&run.child).expect("it runs");
        assert_eq!(*number, run.number);
        assert!(matches!(is, Is::Starting | Is::Up), "asked once: {is:?}");
        *is = Is::Asked;
        self.log.push(format!("-{}", run.child));
    }

    fn kill(&mut self, run: RunId) {
        let (number, is) = self.runs.get_mut(&run.child).expect("it runs");
        assert_eq!(*number, run.number);
        assert_ne!(*is, Is::Killed, "killed once");
        *is = Is::Killed;
        self.log.push(format!("x{}", run.child));
    }

    fn beats(&self, _: RunId) -> u32 {
        self.beats
    }

    fn pid(&self, _: RunId) -> Option<u32> {
        None
    }

    fn tell(&mut self, _: &Arc<str>, _: Option<u32>, _: What) {}

    fn chance(&mut self) -> u64 {
        7
    }
}

fn spec(name: &str, restart: Restart) -> Spec<()> {
    Spec {
        name: name.into(),
        kind: Some(Kind::Thread),
        restart,
        is_significant: false,
        shutdown: Shutdown::Grace(LIMIT),
        readiness: Readiness::WhenItSaysSo {
            within: Some(LIMIT),
        },
        watchdog: Some(LIMIT),
        launcher: (),
    }
}

fn rules(strategy: Strategy, intensity: u32) -> SupervisorRules {
    SupervisorRules {
        strategy,
        intensity,
        period: LONG,
        auto_shutdown: AutoShutdown::Never,
        backoff: None,
        stop_together: false,
    }
}

/// A machine, its world and its clock.
struct Tried {
    machine: Machine<()>,
    hand: Hand,
    now: Instant,
}

impl Tried {
    fn new(rules: SupervisorRules, children: &[(&str, Restart)]) -> Tried {
        let now = Instant::now();
        let children = children.iter().map(|&(name, restart)| spec(name, restart));
        let mut tried = Tried {
            machine: Machine::new(rules, children.collect(), now),
            hand: Hand::default(),
            now,
        };
        tried.step();
        tried
    }

    fn step(&mut self) {
        self.hand.in_order = self.machine.in_order() && !self.machine.in_a_hurry;
        self.machine.tick(self.now, &mut self.hand);
        self.machine.advance(self.now, &mut self.hand);
        // It does not want to be called again for what it has just done, unless a launch failed.
        let due = self.machine.deadline(self.now);
        assert!(self.machine.try_again || due.is_none_or(|due| due > self.now));
    }

    fn ready(&mut self, run: RunId) {
        if let Some((number, is)) = self.hand.runs.get_mut(&run.child) {
            if *number == run.number && *is == Is::Starting {
                *is = Is::Up;
            }
        }
        self.machine.ready(run, self.now, &mut self.hand);
        self.step();
    }

    fn end(&mut self, run: RunId, exit: Exit) {
        self.machine.run_ended(run, exit, self.now, &mut self.hand);
        self.hand.runs.remove(&run.child);
        self.step();
    }

    /// Everything that is started becomes ready, everything that is to end ends.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let ending = [self.hand.which(Is::Asked), self.hand.which(Is::Killed)].concat();
            if let Some(&run) = ending.first() {
                self.end(run, Exit::Returned);
            } else if let Some(&run) = self.hand.which(Is::Starting).first() {
                self.ready(run);
            } else if self.machine.try_again {
                self.step();
            } else {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.machine);
    }

    /// As time goes by, one wish of the machine after the other.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.machine.deadline(self.now).filter(|&due| due <= end) {
            self.now = due;
            self.step();
        }
        self.now = end;
    }
}

const PERMANENT: [(&str, Restart); 3] = [
    ("a", Restart::Permanent),
    ("b", Restart::Permanent),
    ("c", Restart::Permanent),
];

#[test]
fn the_steps_of_a_group() {
    let mut all = Tried::new(rules(Strategy::OneForAll, 9), &PERMANENT);
    assert_eq!(all.hand.read(), "+a");
    all.settle();
    assert!(all.machine.is_running());
    assert_eq!(all.hand.read(), "+b +c");
    all.end(all.hand.run(1), Exit::Returned);
    assert_eq!(all.hand.read(), "-2");
    all.end(all.hand.run(2), Exit::Returned);
    assert_eq!(all.hand.read(), "-0");
    all.end(all.hand.run(0), Exit::Returned);
    assert_eq!(all.hand.read(), "+a");
    all.settle();
    assert_eq!(all.hand.read(), "+b +c");
}

#[test]
fn what_an_earlier_run_says_is_not_heard() {
    let mut one = Tried::new(rules(Strategy::OneForOne, 9), &PERMANENT[..1]);
    let first = one.hand.run(0);
    one.settle();
    one.end(first, Exit::Killed);
    assert_eq!(one.hand.read(), "+a +a");
    one.ready(first);
    assert!(!one.machine.children[0].state().eq(&ChildState::Running));
    one.machine
        .run_ended(first, Exit::Killed, one.now, &mut one.hand);
    assert_eq!(one.hand.which(Is::Starting).len(), 1);
}

#[test]
fn limits_of_time() {
    let mut one = Tried::new(rules(Strategy::OneForOne, 1), &PERMANENT[..1]);
    one.settle();
    // It says nothing, and then it is ended.
    one.wait(LIMIT);
    assert_eq!(one.hand.read(), "+a x0");
    one.end(one.hand.run(0), Exit::LetGo);
    // It is not ready, and that is once too often.
    one.wait(LIMIT);
    assert_eq!(one.hand.read(), "+a x0");
    one.end(one.hand.run(0), Exit::LetGo);
    let (reason, ends) = one.machine.ended().expect("it gave up");
    assert!(
        matches!(&reason, Reason::GaveUp { exit, .. } if matches!(**exit, Exit::NotReady(LIMIT)))
    );
    assert!(matches!(ends[0].exit(), Some(Exit::NotReady(_))));
}

#[test]
fn a_child_that_lives_is_left_alone() {
    let mut one = Tried::new(rules(Strategy::OneForOne, 1), &PERMANENT[..1]);
    one.settle();
    for _ in 0..20 {
        one.hand.beats += 1;
        one.wait(LIMIT / 2);
    }
    assert_eq!(one.hand.read(), "+a");
    one.machine.shutdown();
    one.step();
    // It has its grace time, and no more.
    one.wait(LIMIT - Duration::from_millis(1));
    assert_eq!(one.hand.read(), "-0");
    one.wait(Duration::from_millis(1));
    assert_eq!(one.hand.read(), "x0");
}

/// A restart that always fails leaves room for others to be heard.
#[test]
fn a_launch_that_fails_is_tried_again_when_others_were_heard() {
    let mut one = Tried::new(rules(Strategy::OneForOne, u32::MAX), &PERMANENT[..1]);
    one.settle();
    one.hand.failing = u32::MAX;
    one.end(one.hand.run(0), Exit::Killed);
    for _ in 0..10 {
        assert_eq!(one.machine.deadline(one.now), Some(one.now));
        one.step();
    }
    one.machine.shutdown();
    assert!(one.machine.ended().is_some());
}

/// A number that follows another: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.roll(of.len())])
    }
}

/// Anything, in any order. The world checks each step; in the end all are as they should be, and
/// each request has exactly one answer.
#[test]
fn whatever_happens() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    for seed in 1..3000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let strategies = [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ];
        let strategy = strategies[dice.roll(3)];
        let children: Vec<_> = NAMES[..1 + dice.roll(4)]
            .iter()
            .map(|&name| (name, restarts[dice.roll(3)]))
            .collect();
        let mut tried = Tried::new(rules(strategy, u32::MAX), &children);
        tried.settle();
        let mut answers: Vec<mpsc::Receiver<_>> = Vec::new();
        for _ in 0..40 {
            let name = NAMES[dice.roll(NAMES.len())];
            let (reply_to, answer) = mpsc::channel();
            let now = tried.now;
            let everything: Vec<RunId> = (tried.hand.runs.iter())
                .map(|(&child, &(number, _))| RunId { child, number })
                .collect();
            match dice.roll(9) {
                0 => {
                    let new = spec(name, restarts[dice.roll(3)]);
                    tried.machine.start_child(new, reply_to, now);
                    answers.push(answer);
                }
                1 => {
                    tried.machine.terminate_child(name, reply_to, &tried.hand);
                    answers.push(answer);
                }
                2 => {
                    tried.machine.restart_child(name, reply_to, now);
                    answers.push(answer);
                }
                3 => {
                    tried.machine.delete_child(name, reply_to, &tried.hand);
                    answers.push(answer);
                }
                4 => tried.hand.failing = dice.roll(3) as u32,
                5 => tried.wait(LIMIT / (1 + dice.roll(5) as u32)),
                6 => {
                    if let Some(run) = dice.pick(&tried.hand.which(Is::Starting)) {
                        tried.ready(run);
                    }
                }
                _ => {
                    let exits = [Exit::Returned, Exit::Killed, Exit::Ignored];
                    let exit = exits[dice.roll(3)].clone();
                    if let Some(run) = dice.pick(&everything) {
                        tried.end(run, exit);
                    }
                }
            }
            tried.step();
        }
        tried.hand.failing = 0;
        tried.settle();
        for entry in &tried.machine.children {
            assert!(
                matches!(entry.state, MachineState::Up(_) | MachineState::Down),
                "seed {seed}: {entry:?}"
            );
            assert_eq!(
                entry.runs(),
                tried.hand.runs.contains_key(&entry.run.child),
                "seed {seed}"
            );
        }
        let known = tried.machine.children.iter().filter(|e| e.runs()).count();
        assert_eq!(
            known,
            tried.hand.runs.len(),
            "seed {seed}: {:?}",
            tried.hand
        );
        for answer in &answers {
            let first: Result<ChildInfo, ChildError> = answer.try_recv().expect("an answer");
            assert!(answer.try_recv().is_err(), "one answer: {first:?}");
        }
        let known = tried.machine.children.len();
        match dice.roll(2) {
            0 => tried.machine.shutdown(),
            _ => tried.machine.abort(&mut tried.hand),
        }
        tried.step();
        tried.settle();
        let (reason, ends) = tried.machine.ended().expect("nothing runs");
        assert!(matches!(reason, Reason::Shutdown));
        assert_eq!(ends.len(), known, "seed {seed}");
        assert!(tried.hand.runs.is_empty());
    }
}
