//! What a supervisor tells: the same as its stream of events, what is a failure as a warning.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::supervise::{self, Child, Strategy, Supervisor};
use brigade::{Kind, Shared};
use tracing::Level;

use crate::{both, log};

const LONG: Duration = Duration::from_secs(3600);

fn fails(may_go_on: Shared<AtomicU32>) -> Result<(), String> {
    supervise::ready();
    while may_go_on.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    Err("as it was told".to_owned())
}

fn waits(_: u8) {
    supervise::wait_for_stop();
}

#[test]
fn it_tells_what_its_stream_tells() {
    both(|kind| {
        let may_go_on = Shared::new(AtomicU32::new(0)).expect("a region");
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .name("top")
            .intensity(1, LONG)
            .child(Child::new(kind, "waits", waits, 0))
            .child(Child::new(kind, "fails", fails, may_go_on.clone()).ready_within(LONG));
        let stream = supervisor.events();
        let running = supervisor.start().expect("up");
        may_go_on.store(1, SeqCst);
        running.join();
        let stream: Vec<_> = stream.collect();
        let told = std::mem::take(&mut *log());
        assert!(told.iter().all(|seen| seen.target == "brigade::supervise"));
        let messages: Vec<_> = told.iter().map(|seen| seen.message.clone()).collect();
        assert_eq!(
            messages,
            stream.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        assert_eq!(stream.len(), 10, "{messages:?}");
        for (seen, event) in told.iter().zip(&stream) {
            assert_eq!(seen.get("supervisor"), "top");
            assert_eq!(seen.get("child"), event.child().unwrap_or_default());
            let pid = event.pid().map(|pid| pid.to_string());
            assert_eq!(seen.get("pid"), pid.as_deref().unwrap_or_default());
            let is_failure = ["failed", "gave up"]
                .iter()
                .any(|w| seen.message.contains(w));
            let level = if is_failure {
                Level::WARN
            } else {
                Level::DEBUG
            };
            assert_eq!(seen.level, Some(level), "{seen:?}");
        }
        let is_up = "`waits` of top is up";
        let first = told
            .iter()
            .find(|seen| seen.message == is_up)
            .expect("told");
        assert_eq!(first.get("pid").is_empty(), kind == Kind::Thread);
    });
}
