//! Text that is cut where it is too long.

/// The last boundary of characters at `most` or before it. (`str` has this itself since Rust 1.91.)
pub(crate) fn floor_char_boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}
