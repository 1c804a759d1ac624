//! The program as its users start it, with documents that do as they should, and with others.

mod converts;
#[path = "../../examples/hostile.rs"]
#[expect(dead_code, reason = "it is a program of its own, too")]
mod hostile;
mod serves;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("viewer-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("made");
        Scratch(dir)
    }

    /// The good documents, and those that are meant to do harm.
    fn with_all_documents() -> Scratch {
        let scratch = Scratch::new();
        for entry in std::fs::read_dir(good_documents()).expect("it is there") {
            let path = entry.expect("read").path();
            let name = path.file_name().expect("a file");
            std::fs::copy(&path, scratch.0.join(name)).expect("copied");
        }
        hostile::write_into(&scratch.0).expect("written");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn good_documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("documents")
}

fn viewer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_viewer"))
}
