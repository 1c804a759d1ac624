//! `brigade compare --html`: the page says what the JSON says, and a browser shows it.
//!
//! The results are files in `data/`, so nothing is measured here.

mod in_browser;
mod in_words;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::brigade;

/// A folder that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = format!("brigade-test-page-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("made");
        Self(folder)
    }

    /// The page that is made of this result.
    fn page(&self, result: &Value, more: &[&str]) -> (PathBuf, String) {
        let (json, html) = (self.0.join("result.json"), self.0.join("page.html"));
        fs::write(&json, result.to_string()).expect("written");
        let paths = [&json, &html].map(|path| path.to_str().expect("a path"));
        let mut arguments = vec!["compare", "--from", paths[0], "--html", paths[1]];
        arguments.extend(more);
        let run = brigade(&arguments);
        assert_eq!(run.code(), Some(0), "{}", run.stderr);
        let text = fs::read_to_string(&html).expect("a page");
        (html, text)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn result() -> Value {
    let text = fs::read_to_string(data("result.json")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text
        .split_once(from)
        .unwrap_or_else(|| panic!("no `{from}`"));
    rest.split_once(to)
        .unwrap_or_else(|| panic!("no `{to}` after `{from}`"))
        .0
}

/// The values of the `<data>` elements in this part of a page.
fn values(part: &str) -> Vec<f64> {
    let found = part.split("<data").skip(1);
    found
        .map(|data| between(data, "value=\"", "\"").parse().expect("a number"))
        .collect()
}
