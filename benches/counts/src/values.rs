//! What is carried.

use serde::{Deserialize, Serialize};

/// As many programs have them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    id: u64,
    name: String,
    active: bool,
    score: f64,
    tags: Vec<String>,
    parent: Option<u32>,
}

/// One of them.
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

/// Text of so many bytes.
pub fn text(len: usize) -> String {
    ('a'..='z').cycle().take(len).collect()
}

/// So many bytes.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..=255).cycle().take(len).collect()
}

/// So many floats.
pub fn floats(len: usize) -> Vec<f64> {
    (0..len).map(|n| n as f64 * 0.1).collect()
}
