#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // As every Rust program does before its main; libFuzzer's is C++.
        // SAFETY: changes how a signal is treated, before anything else runs.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    },
    |data: &[u8]| brigade::fuzzing::events(data)
);
