//! The values that the paths encode and decode.

use serde::{Deserialize, Serialize};

/// A record with fields of six kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    id: u64,
    name: String,
    active: bool,
    score: f64,
    tags: Vec<String>,
    parent: Option<u32>,
}

/// A record; `n` makes it differ from others.
pub fn fields(n: u64) -> Fields {
    Fields {
        id: 1_000_000 + n,
        name: format!("the record number {n}"),
        active: n.is_multiple_of(2),
        score: n as f64 * 0.5,
        tags: vec!["first".to_owned(), "second".to_owned()],
        parent: Some(n as u32),
    }
}

/// A string of `len` bytes.
pub fn text(len: usize) -> String {
    ('a'..='z').cycle().take(len).collect()
}

/// A vector of `len` bytes.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..=255).cycle().take(len).collect()
}

/// A vector of `len` floats.
pub fn floats(len: usize) -> Vec<f64> {
    (0..len).map(|n| n as f64 * 0.1).collect()
}
