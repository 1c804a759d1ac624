//! What is in the file, read back.

use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message;

use super::format::{Trace, TrackEvent};
use super::*;

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("brigade-timeline-{}-{name}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }

    fn packets(&self) -> Trace {
        let bytes = std::fs::read(&self.0).expect("the file");
        Trace::decode(&bytes[..]).expect("whole packets")
    }

    /// Events with their times.
    fn events(&self) -> Vec<(u64, TrackEvent)> {
        let packets = self.packets().packets.into_iter();
        packets
            .filter_map(|packet| Some((packet.timestamp?, packet.event?)))
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(row: u64, times: RunTimes) -> TaskRun {
    TaskRun {
        row,
        pid: 0,
        task: 7,
        times,
        since_submitted: Duration::from_secs(1),
        outcome: "returned",
    }
}

fn draw(timeline: &Timeline, run: &TaskRun) {
    let place = Location::caller();
    timeline.ran(run, (1, 2), || TaskName::at(0, None, place));
}

#[test]
fn a_run_is_a_slice_on_its_workers_row() {
    let file = Scratch::new("slice");
    let timeline = Timeline::create(&file.0, Kind::Thread, Some("sums")).expect("a timeline");
    let now = clock::nanos();
    draw(&timeline, &run(3, RunTimes::Told(now - 3000, now - 2000)));
    draw(&timeline, &run(3, RunTimes::Told(now - 1000, now)));
    drop(timeline);
    let trace = file.packets();
    let tracks: Vec<_> = trace
        .packets
        .iter()
        .filter_map(|p| p.track.clone())
        .collect();
    assert_eq!(tracks.len(), 3, "the program's, the pool's, the worker's");
    assert_eq!(
        tracks[0].process.as_ref().expect("a process").pid,
        std::process::id() as i32
    );
    assert_eq!(tracks[1].name.as_deref(), Some("sums: pool of threads"));
    assert_eq!(tracks[2].name.as_deref(), Some("thread 3"));
    assert_eq!(tracks[1].parent, Some(tracks[0].uuid));
    assert_eq!(tracks[2].parent, Some(tracks[1].uuid));
    let names = trace.packets.iter().filter_map(|p| p.interned.as_ref());
    assert_eq!(names.count(), 1, "one function has one name");
    let events = file.events();
    let sorts: Vec<i32> = events.iter().map(|(_, event)| event.sort).collect();
    assert_eq!(sorts, [1, 2, 1, 2]);
    assert!(
        events
            .iter()
            .all(|(_, event)| event.track == tracks[2].uuid)
    );
    assert_eq!(events[1].0 - events[0].0, 1000);
    assert_eq!(events[2].0 - events[0].0, 2000);
    assert!(
        trace
            .packets
            .iter()
            .all(|p| p.sequence == trace.packets[0].sequence)
    );
}

#[test]
fn what_a_worker_says_of_its_times_is_made_possible() {
    let file = Scratch::new("hostile");
    let timeline = Timeline::create(&file.0, Kind::Process, None).expect("a timeline");
    let before = clock::nanos();
    for (begin, end) in [
        (u64::MAX, 0),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (5, 4),
        (0, 0),
    ] {
        draw(&timeline, &run(0, RunTimes::Told(begin, end)));
    }
    draw(&timeline, &run(0, RunTimes::Seen(Duration::MAX)));
    drop(timeline);
    let events = file.events();
    assert_eq!(events.len(), 12);
    let latest = format_now();
    assert!(
        events.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "one after another"
    );
    assert!(events.iter().all(|(at, _)| *at <= latest));
    assert!(events.last().expect("events").0 >= before);
}

fn format_now() -> u64 {
    clock::boot_nanos()
}

#[test]
fn a_row_says_when_another_process_is_there() {
    let file = Scratch::new("another");
    let timeline = Timeline::create(&file.0, Kind::Process, None).expect("a timeline");
    for pid in [10, 10, 11] {
        let ran = TaskRun {
            pid,
            ..run(0, RunTimes::Seen(Duration::ZERO))
        };
        draw(&timeline, &ran);
    }
    timeline.mark_process(11, "crashed", "SIGSEGV");
    timeline.mark_process(99, "crashed", "of a process that never ran");
    drop(timeline);
    let marks: Vec<_> = file
        .events()
        .into_iter()
        .filter_map(|(_, event)| {
            let name = event.name?;
            Some((name, event.track))
        })
        .collect();
    let names: Vec<&str> = marks.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["another process", "crashed", "crashed"]);
    assert_eq!(marks[0].1, marks[1].1);
    assert_eq!(marks[2].1 + 1, marks[1].1, "the pool's row");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    for path in ["/dev/null", "/", "/nowhere/file"] {
        let error = Timeline::create(path.as_ref(), Kind::Thread, None).expect_err(path);
        assert!(
            error.to_string().contains(&format!("the timeline {path}")),
            "{error}"
        );
    }
}
