//! `brigade compare`, on this machine: outcomes, never durations.

mod support;

use serde_json::Value;
use support::{brigade, rows};

/// The only row of a report, by its name.
fn only(row: &str) -> Value {
    let [row] = these([row]);
    row
}

/// The rows of a report, by their names and in the order of the table.
fn these<const N: usize>(names: [&str; N]) -> [Value; N] {
    let mut arguments = vec!["compare", "--quick", "--json"];
    for name in names {
        assert!(rows().contains(&name));
        arguments.extend(["--only", name]);
    }
    let run = brigade(&arguments);
    assert_eq!(run.code(), Some(0), "{}\n{}", run.stdout, run.stderr);
    let mut report: Value = serde_json::from_str(&run.stdout).expect("the report is JSON");
    assert_eq!(report["schema"], "brigade-compare");
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(N));
    let mut index = 0;
    names.map(|name| {
        let row = report["rows"][index].take();
        index += 1;
        assert_eq!(row["id"], name);
        assert_eq!(row["status"], "measured");
        row
    })
}

fn figure<'a>(row: &'a Value, id: &str) -> &'a Value {
    let figures = row["figures"].as_array().expect("a row has figures");
    figures
        .iter()
        .find(|figure| figure["id"] == id)
        .unwrap_or_else(|| panic!("no figure {id} in {row:#}"))
}

#[test]
fn every_bad_end_takes_the_program_in_a_thread_and_is_contained_in_a_process() {
    let row = only("crash");
    for (fault, signal, cause) in [
        ("segfault", Some(libc::SIGSEGV), "SIGSEGV"),
        ("abort", Some(libc::SIGABRT), "abort"),
        ("stack-overflow", Some(libc::SIGABRT), "stack overflow"),
        ("exit", None, "exit(3)"),
        ("out-of-memory", Some(libc::SIGABRT), "out of memory"),
    ] {
        let thread = &figure(&row, fault)["thread"]["data"];
        assert_eq!(thread["contained"], false, "{fault}: {thread}");
        assert_ne!(thread["program"], "survived", "{fault}: {thread}");
        assert_eq!(
            thread["program_signal"].as_i64(),
            signal.map(i64::from),
            "{fault}: {thread}"
        );
        assert_eq!(thread["others_finished"], 0, "{fault}: {thread}");

        let process = &figure(&row, fault)["process"]["data"];
        assert_eq!(process["contained"], true, "{fault}: {process}");
        assert_eq!(process["program"], "survived", "{fault}: {process}");
        assert_eq!(process["ending"], "crashed", "{fault}: {process}");
        assert_eq!(process["cause"], cause, "{fault}: {process}");
        assert_eq!(
            process["others_finished"], process["others"],
            "{fault}: {process}"
        );
        if let Some(why) = figure(&row, fault)["sandbox"]["missing"].as_str() {
            eprintln!("skipped, because there is no sandbox: {why}");
            continue;
        }
        let shut_in = &figure(&row, fault)["sandbox"]["data"];
        assert_eq!(shut_in["contained"], true, "{fault}: {shut_in}");
        assert_eq!(shut_in["cause"], cause, "{fault}: {shut_in}");
    }
    assert_eq!(row["verdict"]["outcome"], "holds");
}

#[test]
fn a_panic_is_reported_by_both_kinds_and_costs_one_task() {
    let row = only("crash");
    for kind in ["thread", "process"] {
        let seen = &figure(&row, "panic")[kind]["data"];
        assert_eq!(seen["contained"], true, "{kind}: {seen}");
        assert_eq!(seen["ending"], "panicked", "{kind}: {seen}");
        assert_eq!(
            seen["cause"], "a task that panics, on purpose",
            "{kind}: {seen}"
        );
    }
}

#[test]
fn a_thread_writes_the_hosts_variable_and_a_process_its_own() {
    let row = only("memory");
    let read = |id: &str, kind: &str| figure(&row, id)[kind]["data"].as_u64();
    assert_eq!(read("worker-reads", "thread"), Some(42));
    assert_eq!(read("worker-reads", "process"), Some(42));
    assert_eq!(read("host-reads", "thread"), Some(42));
    assert_eq!(read("host-reads", "process"), Some(7));
    assert_eq!(row["verdict"]["outcome"], "holds");
}

#[test]
fn a_process_neither_sees_the_hosts_memory_nor_closes_its_files() {
    let row = only("isolation");
    for id in ["read-pointer", "close"] {
        assert_eq!(figure(&row, id)["thread"]["data"], true, "{id}");
        assert_eq!(figure(&row, id)["process"]["data"], false, "{id}");
    }
    for figure in row["figures"].as_array().expect("figures") {
        if let Some(why) = figure["sandbox"]["missing"].as_str() {
            return eprintln!("skipped, because there is no sandbox: {why}");
        }
        assert_eq!(figure["sandbox"]["data"], false, "{figure:#}");
    }
}

#[test]
fn students_find_the_terms_of_their_textbook() {
    let row = only("concurrency");
    for text in [&row["claim"], &row["done"], &row["views"]["thread"]] {
        let text = text.as_str().expect("a sentence");
        assert!(
            text.contains("CPU-bound") && text.contains("I/O-bound"),
            "{text}"
        );
    }
}

#[test]
fn a_lock_loses_nothing_between_threads_or_processes() {
    let row = only("synchronisation");
    for (id, kind) in [
        ("lost-mutex", "thread"),
        ("lost-mutex", "process"),
        ("lost-semaphore", "thread"),
        ("lost-semaphore", "process"),
        ("lost-raw-mutex", "process"),
        ("lost-raw-semaphore", "process"),
    ] {
        assert_eq!(figure(&row, id)[kind]["upper"], 0.0, "{id} {kind}");
    }
    assert_eq!(figure(&row, "lost-variable")["process"]["upper"], 0.0);
}

#[test]
fn every_transport_is_measured_for_both_kinds_beside_its_mechanism() {
    let row = only("communication");
    for (transport, mechanism) in [
        ("shm", "page"),
        ("pipe", "pipe"),
        ("socket", "socket"),
        ("queue", "queue"),
    ] {
        for what in ["round-trip", "bandwidth"] {
            let ids = [
                format!("{what}-channel-{transport}"),
                format!("{what}-{mechanism}"),
            ];
            for (id, kind) in ids.iter().flat_map(|id| [(id, "thread"), (id, "process")]) {
                let value = &figure(&row, id)[kind];
                if transport == "queue" && value["missing"].is_string() {
                    eprintln!("skipped, because: {}", value["missing"]);
                    continue;
                }
                assert!(value["median"].as_f64() > Some(0.0), "{id} {kind}: {value}");
            }
        }
    }
    assert!(figure(&row, "round-trip-std")["process"].is_null());
    // The lines of the charts: bytes of a message, bytes of an input.
    let points = |axis: &str, line: &str, unit: &str| {
        let figures = row["figures"].as_array().into_iter().flatten();
        let on_line = figures.filter(|figure| {
            let at = &figure["at"];
            at["axis"] == axis && at["line"] == line && figure["unit"] == unit
        });
        on_line.count()
    };
    for line in ["shm", "pipe", "socket"] {
        assert_eq!(points("message", line, "nanoseconds"), 5, "{line}");
        assert_eq!(points("message", line, "bytes-per-second"), 5, "{line}");
    }
    assert_eq!(points("input", "pooled", "nanoseconds"), 5);
    assert_eq!(points("input", "fresh", "nanoseconds"), 5);
}

/// Both sides of a figure are numbers of this unit, and there is a ratio.
fn assert_beside(row: &Value, id: &str, unit: &str) {
    let figure = figure(row, id);
    assert_eq!(figure["unit"], unit, "{id}");
    for kind in ["thread", "process"] {
        let value = &figure[kind];
        assert!(value["median"].as_f64() > Some(0.0), "{id} {kind}: {value}");
    }
    assert!(figure["ratio"].is_number(), "{id}");
}

#[test]
fn a_task_in_a_pool_is_measured_for_both_kinds_and_the_advice_rests_on_it() {
    let [creation, concurrency, advice] = these(["creation", "concurrency", "advice"]);
    assert_beside(&creation, "spawn", "nanoseconds");
    assert_beside(&creation, "pooled", "nanoseconds");
    assert_beside(&concurrency, "pooled-rate", "per-second");
    for id in [
        "break-even-pooled",
        "break-even-fresh",
        "break-even-program",
    ] {
        let figure = figure(&advice, id);
        assert!(figure["thread"].is_null(), "{id}");
        assert!(
            figure["process"]["median"].as_f64() >= Some(0.0),
            "{id}: {figure}"
        );
    }
    let evidence = advice["verdict"]["evidence"].as_str();
    assert!(
        evidence.is_some_and(|text| text.contains("in a pool")),
        "{advice:#}"
    );
}

#[test]
fn the_table_fits_a_hundred_columns_and_has_no_colour_without_a_terminal() {
    let run = brigade(&[
        "compare",
        "--quick",
        "--only",
        "isolation",
        "--only",
        "memory",
        "--only",
        "synchronisation",
    ]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!run.stdout.contains('\x1b'), "{}", run.stdout);
    assert!(
        run.stdout.contains(" 1  Memory") && run.stdout.contains(" 9  Isolation"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("Creation"), "{}", run.stdout);
    assert!(
        run.stderr.is_empty(),
        "no bar without a terminal: {}",
        run.stderr
    );
}

#[test]
fn a_result_is_shown_again_without_measuring() {
    let run = brigade(&[
        "compare",
        "--quick",
        "--json",
        "--only",
        "isolation",
        "--only",
        "memory",
    ]);
    let file = std::env::temp_dir().join(format!("brigade-test-from-{}.json", std::process::id()));
    std::fs::write(&file, &run.stdout).expect("written");
    let path = file.to_str().expect("a path");
    let again = brigade(&["compare", "--from", path, "--json"]);
    let only = brigade(&["compare", "--from", path, "--only", "memory"]);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(again.stdout, run.stdout);
    assert_eq!(only.code(), Some(0));
    assert!(only.stdout.contains(" 1  Memory") && !only.stdout.contains(" 9  Isolation"));
    let gone = brigade(&["compare", "--from", path]);
    assert_eq!(gone.code(), Some(1));
    assert_eq!(gone.stderr.lines().count(), 1, "{}", gone.stderr);
    assert_eq!(
        brigade(&["compare", "--from", path, "--quick"]).code(),
        Some(2)
    );
}

#[test]
fn colours_come_when_they_are_asked_for() {
    let run = brigade(&[
        "compare",
        "--quick",
        "--only",
        "isolation",
        "--color",
        "always",
    ]);
    assert!(run.stdout.contains("\x1b[1m"), "{}", run.stdout);
}
