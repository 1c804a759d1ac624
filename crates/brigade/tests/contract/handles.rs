//! What a handle tells.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use brigade::Kind;

use crate::{Fifo, both, each_way};

fn wait(go: PathBuf) -> String {
    std::fs::read_to_string(go).expect("the test writes")
}

#[test]
fn join_timeout_gives_the_handle_back() {
    each_way(|starter| {
        let go = Fifo::new();
        let handle = starter.start(wait, go.path());
        let handle = handle
            .join_timeout(Duration::from_millis(10))
            .expect_err("it waits");
        let handle = handle.join_timeout(Duration::ZERO).expect_err("it waits");
        go.tell("now");
        let ended = handle.join_timeout(Duration::MAX).expect("it ends");
        assert_eq!(ended.expect("returns"), "now");
    });
}

#[test]
fn pid_is_the_workers() {
    brigade::init();
    let handle = brigade::process::spawn(|()| std::process::id(), ()).expect("starts");
    let pid = handle.pid().expect("a process");
    assert_ne!(pid, std::process::id());
    assert_eq!(handle.join().expect("returns"), pid);
    let handle = brigade::thread::spawn(|()| std::process::id(), ()).expect("starts");
    assert_eq!(handle.pid(), None);
    assert_eq!(handle.join().expect("returns"), std::process::id());
}

#[test]
fn results_need_not_be_debug_nor_shared() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Opaque(Cell<u8>);
    each_way(|starter| {
        let handle = starter.start(|o: Opaque| o, Opaque(Cell::new(3)));
        assert!(format!("{handle:?}").starts_with("JoinHandle"));
        let Opaque(back) = handle.join().expect("returns");
        assert_eq!(back.get(), 3);
    });
}

#[test]
fn the_word_is_parsed_and_printed() {
    brigade::init();
    for kind in Kind::ALL {
        assert_eq!(kind.to_string().parse::<Kind>(), Ok(kind));
        let written = serde_json::to_string(&kind).expect("a word");
        assert_eq!(written, format!("\"{kind}\""));
        assert_eq!(
            serde_json::from_str::<Kind>(&written).expect("a kind"),
            kind
        );
        let there = kind.spawn(|kind: Kind| kind, kind).expect("starts");
        assert_eq!(there.join().expect("returns"), kind);
    }
    let error = "fork".parse::<Kind>().expect_err("no kind");
    assert!(error.to_string().contains("fork"), "{error}");
}

#[test]
fn hundreds_at_once_from_many_threads() {
    both(|kind| {
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u64)
                .map(|t| {
                    scope.spawn(move || {
                        let handles: Vec<_> = (0..16)
                            .map(|n| {
                                kind.spawn(|(a, b): (u64, u64)| a * b, (t, n))
                                    .expect("starts")
                            })
                            .collect();
                        handles
                            .into_iter()
                            .map(|h| h.join().expect("returns"))
                            .sum::<u64>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .collect()
        });
        assert_eq!(sums, (0..8).map(|t| t * 120).collect::<Vec<u64>>());
    });
}
