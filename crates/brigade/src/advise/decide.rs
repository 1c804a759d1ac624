//! From what was measured to what is advised. Nothing here looks at a clock, or runs anything.

use super::verdict::Verdict;
use super::words;
use super::{Advice, Measured};

pub(super) fn decide(found: Measured) -> Advice {
    let verdict = Verdict::of(&found);
    let kind = verdict.kind();
    Advice {
        kind,
        workers: found.workers,
        is_close: matches!(verdict, Verdict::Tie(_) | Verdict::Unclear(..)),
        reasons: words::reasons(verdict, kind, &found),
        would_change: words::would_change(verdict, kind, &found),
        measured: found,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Kind;
    use crate::advise::{Alone, Failed, Results, Together};

    /// All is well, and processes take `ratio` times as long.
    fn measured(ratio: f64) -> Measured {
        let threads = Duration::from_micros(100);
        Measured {
            processors: 4,
            inputs: 10,
            together: Some(Together::Well),
            results: Results::Same,
            alone: Some(Alone {
                time: threads * 4,
                waits: 0.0,
                leaks: None,
            }),
            workers: 4,
            threads: Some(threads),
            processes: Some(threads.mul_f64(ratio)),
            fresh: Some(threads * 4),
            ratio: Some(ratio),
            carried: (100, 10),
            worker_memory: Some(1 << 20),
            ..Measured::default()
        }
    }

    fn failed() -> Failed {
        Failed {
            count: 2,
            first: Some("what it said".to_owned()),
        }
    }

    #[test]
    fn the_quicker_kind_is_advised() {
        for (ratio, kind, is_close) in [
            (0.5, Kind::Process, false),
            (1.0, Kind::Thread, true),
            (1.09, Kind::Thread, true),
            (0.95, Kind::Thread, true),
            (1.2, Kind::Thread, false),
            (40.0, Kind::Thread, false),
        ] {
            let advice = decide(measured(ratio));
            assert_eq!(
                (advice.kind(), advice.is_close()),
                (kind, is_close),
                "{ratio}"
            );
            assert_eq!(advice.workers(), 4);
        }
    }

    #[test]
    fn rounds_that_do_not_agree_decide_nothing() {
        for (ratio, quartiles, verdict) in [
            (0.8, (0.7, 1.2), Verdict::Unclear(0.7, 1.2)),
            (1.25, (0.9, 1.4), Verdict::Unclear(0.9, 1.4)),
            (1.25, (1.05, 1.4), Verdict::Quicker(Kind::Thread, 1.25)),
            (0.8, (0.7, 0.95), Verdict::Quicker(Kind::Process, 0.8)),
            (1.0, (0.5, 2.0), Verdict::Tie(1.0)),
        ] {
            let found = Measured {
                quartiles: Some(quartiles),
                ..measured(ratio)
            };
            assert_eq!(Verdict::of(&found), verdict);
            let advice = decide(found);
            let is_unclear = matches!(verdict, Verdict::Unclear(..));
            assert_eq!(
                advice.is_close(),
                is_unclear || matches!(verdict, Verdict::Tie(_))
            );
            let text = advice.to_string();
            assert_eq!(text.contains("not agree"), is_unclear, "{text}");
            assert!(!(is_unclear && text.contains("held up")), "{text}");
        }
    }

    #[test]
    fn a_wall_comes_before_time() {
        type Change = fn(&mut Measured);
        let changes: [(Change, Verdict); 6] = [
            (|found| found.failures.crashed = failed(), Verdict::Crashes),
            (|found| found.failures.timed_out = failed(), Verdict::Hangs),
            (
                |found| found.together = Some(Together::Hung),
                Verdict::Hangs,
            ),
            (
                |found| found.together = Some(Together::Crashed("it did".to_owned())),
                Verdict::CrashesInThreads,
            ),
            (
                |found| {
                    found.alone = found.alone.map(|alone| Alone {
                        leaks: Some(99),
                        ..alone
                    })
                },
                Verdict::Leaks(99),
            ),
            (|found| found.ratio = None, Verdict::Unknown),
        ];
        for (change, expected) in changes {
            let mut found = measured(40.0);
            change(&mut found);
            assert_eq!(Verdict::of(&found), expected);
            assert_eq!(decide(found).kind(), Kind::Process);
        }
    }

    #[test]
    fn what_only_the_program_has_comes_before_time() {
        type Change = fn(&mut Measured);
        let changes: [(Change, Verdict); 3] = [
            (
                |found| found.failures.undeliverable = failed(),
                Verdict::CannotBeCarried,
            ),
            (
                |found| found.results = Results::DependOnTheProgram,
                Verdict::NeedsTheProgram,
            ),
            (
                |found| found.results = Results::DependOnTasksBefore,
                Verdict::NeedsTasksBefore,
            ),
        ];
        for (change, expected) in changes {
            let mut found = measured(0.5);
            change(&mut found);
            assert_eq!(Verdict::of(&found), expected);
            assert_eq!(decide(found).kind(), Kind::Thread);
        }
    }

    #[test]
    fn each_verdict_has_its_figures_in_words() {
        let texts = [0.5, 1.0, 40.0].map(|ratio| decide(measured(ratio)).to_string());
        for text in &texts {
            assert!(text.starts_with("Advice: a pool of 4 "), "{text}");
            assert!(
                text.contains("Why:\n- ") && text.contains("change this:\n- "),
                "{text}"
            );
        }
        assert!(texts[0].contains("50.0 µs"), "{}", texts[0]);
        assert!(texts[1].contains("100.0 µs"), "{}", texts[1]);
        assert!(texts[2].contains("4.00 ms"), "{}", texts[2]);
        let mut crashed = measured(1.0);
        crashed.failures.crashed = failed();
        let text = decide(crashed).to_string();
        assert!(
            text.contains("2 of 10") && text.contains("what it said"),
            "{text}"
        );
        let one = Measured {
            workers: 1,
            ..measured(0.5)
        };
        assert!(
            decide(one)
                .to_string()
                .starts_with("Advice: a pool of 1 process.\n")
        );
    }
}
